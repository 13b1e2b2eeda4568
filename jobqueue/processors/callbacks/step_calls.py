"""The calls by which a handler uses steps."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, overload

from jobqueue import tracing
from jobqueue.domain.access.signal_link import DEFAULT_SECONDS
from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.errors import InvalidInputError, StepError
from jobqueue.domain.values.iso8601 import aware
from jobqueue.processors.callbacks.step_types import Codec
from jobqueue.processors.callbacks.stepping import MOST_TRIES, Stepper

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.attempts.backoff import Backoff

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
BackoffLike = backoffs.Backoff | float | Sequence[float] | Mapping[str, Any] | None


LATE: Final[set[asyncio.Task[None]]] = set()
"""Steps that must not run twice whose threads go on after the end of their runs."""


class StepResults(Mapping[str, Any]):
    """The results of finished steps by name.

    Results of more than 8 MiB together do not all come with the claim: reading such a result raises `KeyError` where
    nobody can wait for it; ``job.step`` loads it.
    """

    def __init__(self, stepper: Stepper, load: Callable[[str], Any] | None = None) -> None:
        self._stepper = stepper
        self._load = load

    def __getitem__(self, name: str) -> Any:
        if name in self._stepper.results:
            return self._stepper.results[name]
        if self._load is not None and name in self._stepper.finished:
            return self._load(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stepper.finished)

    def __len__(self) -> int:
        return len(self._stepper.finished)


def check_tries(attempts: object, backoff: object) -> Backoff:
    """Return the backoff of a step.

    Raises:
        StepError: the number of tries or the backoff is wrong.
    """
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= MOST_TRIES:
        raise StepError(f"attempts of a step are 1 to {MOST_TRIES:,}, not {attempts!r}")
    try:
        return backoffs.parse(0 if backoff is None else backoff)
    except InvalidInputError as error:
        raise StepError(str(error)) from error


class AsyncSteps:
    """Steps of an async handler."""

    _stepper: Stepper

    @property
    def steps(self) -> Mapping[str, Any]:
        """The results of finished steps, by name."""
        return StepResults(self._stepper)

    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        attempts: int = 1,
        backoff: BackoffLike = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of one try, not of this call
        once: bool = False,
        was: str | None = None,
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        attempts: int = 1,
        backoff: BackoffLike = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of one try, not of this call
        once: bool = False,
        was: str | None = None,
    ) -> T: ...
    @overload
    async def step(
        self,
        name: str,
        function: Callable[[*Ts], T],
        *args: *Ts,
        attempts: int = 1,
        backoff: BackoffLike = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of one try, not of this call
        once: bool = False,
        was: str | None = None,
    ) -> T: ...
    async def step(  # type: ignore[misc]
        self,
        name: str,
        function: Any,
        *args: Any,
        attempts: int = 1,
        backoff: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of one try, not of this call
        once: bool = False,
        was: str | None = None,
    ) -> Any:
        """Run a function unless the step has finished in an earlier run of the job, and return its result.

        The result is kept with the job before this returns. It is what `data` may hold, or a dataclass or another type
        that the function declares to return. A plain function runs in a thread.

        Args:
            name: finds the step again, 1 to 100 characters; the second use of a name in a run becomes ``name#2``.
            function: does the work.
            args: for the function.
            attempts: how often the step is tried in one attempt of the job.
            backoff: the wait before the next try; the job is suspended for it.
            timeout: seconds for one try.
            once: the step never runs twice. If nobody knows whether it has happened, because its process died or it
                raised another exception than `NotDone`, the job waits until a person says so.
            was: the former name of the step, whose result is taken.

        Raises:
            StepError: the name cannot be used, or the result cannot be kept.
            Exception: of the function, when no try is left.
            JobCancelledError: the job was killed or its lease was lost.
        """
        wait, codec = check_tries(attempts, backoff), Codec(function)
        with self._stepper.named(name) as key:
            is_known, result = await self._stepper.known(key, was, codec, once=once)
            if is_known:
                return result
            if (until := self._stepper.pending(key)) is not None:
                await self._stepper.park(key, until)
            tries = self._stepper.tries(key)
            while True:
                tries, began = tries + 1, time.monotonic()
                if once and not await self._stepper.begin_once(key, tries):
                    await self._stepper.park_in_doubt(key)
                try:
                    with tracing.step(key, tries):
                        async with asyncio.timeout(timeout):
                            value = await (
                                self._once(key, tries, codec, function, args) if once else _called(function, args)
                            )
                except Exception as error:  # noqa: BLE001 - whatever the function raises decides on the step
                    until = await self._stepper.after_failure(key, error, tries, attempts, wait)
                    if until is not None:
                        await self._stepper.park(key, until)
                else:
                    seconds = time.monotonic() - began
                    return await self._stepper.keep(key, value, codec, tries=tries, seconds=seconds)

    async def _once(self, key: str, tries: int, codec: Codec, function: Any, args: Sequence[Any]) -> Any:
        """Call a function; a thread that ends after the run of the job has its result kept all the same."""
        began, call = time.monotonic(), asyncio.ensure_future(_called(function, args))

        async def keep_late() -> None:
            with contextlib.suppress(Exception):
                value, seconds = await call, time.monotonic() - began
                await self._stepper.keep(key, value, codec, tries=tries, seconds=seconds)

        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if _is_async(function):
                call.cancel()
                await asyncio.wait({call})
            else:
                LATE.add(late := asyncio.create_task(keep_late()))
                late.add_done_callback(LATE.discard)
            raise

    async def sleep(self, name: str, seconds: float) -> None:
        """Suspend the job for a while: it holds no slot, no lease and no process meanwhile.

        Args:
            name: of this sleep, as of a step.
            seconds: from the first time that the job comes here.

        Raises:
            StepError: the name or the number cannot be used.
        """
        with self._stepper.named(name) as key:
            if (until := await self._stepper.sleep(key, seconds=seconds)) is not None:
                await self._stepper.park(key, until)

    async def sleep_until(self, name: str, moment: datetime) -> None:
        """Suspend the job until a moment, a date with a time zone; as `sleep`."""
        with self._stepper.named(name) as key:
            until = await self._stepper.sleep(key, until=aware(moment, "moment"))
            if until is not None:
                await self._stepper.park(key, until)

    @overload
    async def signal(self, name: str, *, timeout: float | None = None) -> Any: ...  # noqa: ASYNC109 - of the wait
    @overload
    async def signal(self, name: str, *, into: type[T], timeout: float | None = None) -> T: ...  # noqa: ASYNC109 - as above
    async def signal(self, name: str, *, into: Any = None, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as above
        """Return the value of the next signal of a name; until one comes, the job is suspended.

        A signal that came before the job has asked for it counts. Each use of the name takes one signal.

        Args:
            name: of the signal, and of this step.
            into: the type of the value, such as a dataclass.
            timeout: seconds from the first time that the job comes here; ``None`` waits for ever.

        Raises:
            SignalTimeoutError: no signal has come in time.
            StepError: the name or the time cannot be used, or the value is of another type.
        """
        with self._stepper.named(name) as key:
            if (step := await self._stepper.signal(key, name, timeout)) is not None:
                await self._stepper.park(key, step.until, name)
            return await self._stepper.received(key, Codec(None, into))

    async def signal_url(
        self,
        name: str,
        *,
        choices: Mapping[str, Any] | None = None,
        title: str = "",
        by: str = "",
        timeout: float = DEFAULT_SECONDS,  # noqa: ASYNC109 - of the link
    ) -> str:
        """Return a signed link to a page on which a person answers the next `signal` of a name, once.

        Args:
            name: of the signal.
            choices: the values by the labels of their buttons, at most 10; ``{"Approve": True, "Reject": False}``.
            title: the question as the page shows it.
            by: the person to whom the link goes, as the signal will name its sender.
            timeout: seconds for which the link holds.

        Raises:
            StepError: the link cannot be made.
        """
        return await self._stepper.signal_url(name, choices=choices, title=title, by=by, timeout=timeout)


class BlockingSteps:
    """Steps of a plain handler, which runs in a thread."""

    _stepper: Stepper
    _call: Callable[[Coroutine[Any, Any, Any]], Any]
    _call_in_any_case: Callable[[Coroutine[Any, Any, Any]], Any]

    @property
    def steps(self) -> Mapping[str, Any]:
        """The results of finished steps, by name."""
        return StepResults(self._stepper, lambda name: self._call(self._stepper.result(name)))

    @overload
    def step(
        self,
        name: str,
        function: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        attempts: int = 1,
        backoff: BackoffLike = None,
        once: bool = False,
        was: str | None = None,
    ) -> T: ...
    @overload
    def step(
        self,
        name: str,
        function: Callable[[*Ts], T],
        *args: *Ts,
        attempts: int = 1,
        backoff: BackoffLike = None,
        once: bool = False,
        was: str | None = None,
    ) -> T: ...
    def step(  # type: ignore[misc]
        self,
        name: str,
        function: Any,
        *args: Any,
        attempts: int = 1,
        backoff: Any = None,
        once: bool = False,
        was: str | None = None,
    ) -> Any:
        """Run a function unless the step has finished in an earlier run; as `AsyncSteps.step`, without a timeout."""
        wait, codec = check_tries(attempts, backoff), Codec(function)
        with self._stepper.named(name) as key:
            is_known, result = self._call(self._stepper.known(key, was, codec, once=once))
            if is_known:
                return result
            if (until := self._stepper.pending(key)) is not None:
                self._suspend(key, until)
            tries = self._stepper.tries(key)
            while True:
                tries, began = tries + 1, time.monotonic()
                if once and not self._call(self._stepper.begin_once(key, tries)):
                    raise self._stepper.suspend_in_doubt(key)
                try:
                    with tracing.step(key, tries):
                        value = function(*args)
                        if inspect.isawaitable(value):
                            value = self._call(_awaited(value))
                except Exception as error:  # noqa: BLE001 - whatever the function raises decides on the step
                    until = self._call(self._stepper.after_failure(key, error, tries, attempts, wait))
                    if until is not None:
                        self._suspend(key, until)
                else:
                    seconds = time.monotonic() - began
                    kept = self._stepper.keep(key, value, codec, tries=tries, seconds=seconds)
                    # Also after the claim is lost: nobody else knows that the step has happened.
                    return self._call_in_any_case(kept) if once else self._call(kept)

    def sleep(self, name: str, seconds: float) -> None:
        """Suspend the job for a while, as `AsyncSteps.sleep`; the thread of the handler ends meanwhile."""
        with self._stepper.named(name) as key:
            if (until := self._call(self._stepper.sleep(key, seconds=seconds))) is not None:
                self._suspend(key, until)

    def sleep_until(self, name: str, moment: datetime) -> None:
        """Suspend the job until a moment, a date with a time zone; as `sleep`."""
        with self._stepper.named(name) as key:
            if (until := self._call(self._stepper.sleep(key, until=aware(moment, "moment")))) is not None:
                self._suspend(key, until)

    @overload
    def signal(self, name: str, *, timeout: float | None = None) -> Any: ...
    @overload
    def signal(self, name: str, *, into: type[T], timeout: float | None = None) -> T: ...
    def signal(self, name: str, *, into: Any = None, timeout: float | None = None) -> Any:
        """Return the value of the next signal of a name, as `AsyncSteps.signal`; the thread ends meanwhile."""
        with self._stepper.named(name) as key:
            if (step := self._call(self._stepper.signal(key, name, timeout))) is not None:
                self._suspend(key, step.until, name)
            return self._call(self._stepper.received(key, Codec(None, into)))

    def signal_url(
        self,
        name: str,
        *,
        choices: Mapping[str, Any] | None = None,
        title: str = "",
        by: str = "",
        timeout: float = DEFAULT_SECONDS,
    ) -> str:
        """Return a signed link to a page on which a person answers, as `AsyncSteps.signal_url`."""
        url: str = self._call(self._stepper.signal_url(name, choices=choices, title=title, by=by, timeout=timeout))
        return url

    def _suspend(self, key: str, until: datetime | None, signal: str | None = None) -> None:
        raise self._stepper.suspend(key, until, signal)


async def _called(function: Callable[..., Any], args: Sequence[Any]) -> Any:
    value = function(*args) if _is_async(function) else await asyncio.to_thread(function, *args)
    return await value if inspect.isawaitable(value) else value


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def _is_async(function: Callable[..., Any]) -> bool:
    body = inspect.unwrap(function)
    while hasattr(body, "func"):
        body = body.func
    call = getattr(body, "__call__", None)  # noqa: B004 - an object whose call is async
    return inspect.iscoroutinefunction(body) or inspect.iscoroutinefunction(call)
