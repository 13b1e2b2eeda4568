"""Call the function of a handler, on the event loop or in a thread of its own, and catch any exception."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import sys
import threading
import traceback
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jobqueue.domain.work.verdict import Success, Verdict
from jobqueue.processors.callbacks.raised import stems_from_a_stop, verdict_on

Function = Callable[[Any], Any]
_MOST_NESTED: Final = 10
"""Awaitables that may return each other."""
_loops: Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int]] = weakref.WeakKeyDictionary()
"""Event loops that run handlers, with their threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """The end of a call.

    Attributes:
        verdict: on the job.
        stopped: the call ended as a cancelled call does.
    """

    verdict: Verdict
    stopped: bool = False


class Cancellable(Protocol):
    """The job of a function that runs in a thread."""

    @property
    def id(self) -> str:
        """The job's id."""

    @property
    def cancelled(self) -> bool:
        """True after `cancel`."""

    def cancel(self) -> None:
        """Make the next call of the function to its job raise."""


async def in_loop(
    start: Callable[[], Any],
    name: str,
    *,
    context: contextvars.Context | None = None,
    idle: asyncio.Future[None] | None = None,
) -> CallEnd:
    """Call a function on the event loop, await its result, and return the end of the call.

    The call has a task of its own, so that a handler that cancels its task does not cancel the caller. Each
    cancellation of the caller cancels the call; this returns when the call has ended.

    Args:
        start: returns an awaitable, or the result.
        name: of the task.
        context: of the task; ``None`` for a copy of the present one.
        idle: cancels the call when it is done.
    """
    # A task that cancels itself in its last line would lose its result.
    ended: list[CallEnd] = []
    loop = asyncio.get_running_loop()
    _loops[loop] = threading.get_ident()
    task = loop.create_task(_watch(start, ended), name=name, context=context)
    waits: set[asyncio.Future[None]] = {task} if idle is None else {task, idle}
    while not task.done():
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
        else:
            if not task.done():
                task.cancel()
                waits = {task}
    return ended[0] if ended else _stopped()


async def in_thread(function: Function, active: Cancellable) -> CallEnd:
    """Call a function in a thread, await its result if that is awaitable, and return the end of the call.

    Cancelling makes the next call of the function to its job raise; this returns when the function has ended.

    Raises:
        CancelledError: the caller was cancelled a second time; the thread is abandoned.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, CallEnd | None]] = loop.create_future()
    context = contextvars.copy_context()
    process = os.getpid()

    def body() -> None:
        returned: Any = None
        ended: CallEnd | None = None
        try:
            returned = context.run(function, active)
            if not inspect.isawaitable(returned):
                ended = _returned(returned)
        except BaseException as error:  # noqa: BLE001 - any exception of a handler belongs to its job
            _end_fork(process, error)
            ended = _raised(error)
        _end_fork(process)
        # The loop is closed if the job was abandoned on shutdown.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, done, returned, ended)

    threading.Thread(target=body, name=f"job-{active.id}", daemon=True).start()
    while not done.done():
        try:
            await asyncio.wait({done})
        except asyncio.CancelledError:
            if active.cancelled:
                raise
            active.cancel()
    returned, ended = done.result()
    if ended is not None:
        return ended
    if active.cancelled:
        if inspect.iscoroutine(returned):
            returned.close()
        return _stopped()
    return await in_loop(lambda: returned, f"job-{active.id}", context=context)


async def _watch(start: Callable[[], Any], ended: list[CallEnd]) -> None:
    process = os.getpid()
    try:
        returned = start()
        for _ in range(_MOST_NESTED):
            if not inspect.isawaitable(returned):
                break
            returned = await returned
        _end_fork(process)
        ended.append(_returned(returned))
    except BaseException as error:  # noqa: BLE001 - an interrupt that left this task would end the event loop
        _end_fork(process, error)
        ended.append(_raised(error))


def _deliver(done: asyncio.Future[tuple[Any, CallEnd | None]], returned: Any, ended: CallEnd | None) -> None:
    if not done.done():
        done.set_result((returned, ended))


def _returned(result: Any) -> CallEnd:
    if isinstance(result, Generator | AsyncGenerator):
        raise TypeError("the handler returned a generator, whose body does not run: return its values as a list")
    return CallEnd(verdict=Success(result=result))


def _raised(error: BaseException) -> CallEnd:
    return CallEnd(verdict=verdict_on(error), stopped=stems_from_a_stop(error))


def _stopped() -> CallEnd:
    return _raised(asyncio.CancelledError())


def _end_fork(process: int, error: BaseException | None = None) -> None:
    """End a forked process that returns from the handler, because the job belongs to the parent."""
    if os.getpid() == process:
        return
    code = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    with contextlib.suppress(BaseException):
        if error is not None and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def _end_forked_loops() -> None:
    """End a forked process when it goes on with the event loop of its parent, because both share connections."""
    for loop, thread in list(_loops.items()):
        if thread == threading.get_ident() and loop.is_running():
            loop.call_soon(_end_fork, 0, RuntimeError("a forked process cannot await in the event loop of its parent"))


os.register_at_fork(after_in_child=_end_forked_loops)
