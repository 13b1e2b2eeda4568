"""The calls by which a handler awaits children: jobs that other workers run while its own job is suspended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, cast

from jobqueue.domain.errors import InvalidInputError, StepError, TooLargeError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.calls import NewCall
from jobqueue.processors.callbacks.child_errors import decoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
    from typing import Literal

    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.processors.callbacks.stepping import Stepper

    Failures = Literal["raise", "return", "hold"]


def new_call(
    name: str,
    kind: str,
    items: Iterable[Mapping[str, Any] | None],
    failures: str,
    fields: Mapping[str, Any],
    *,
    single: bool,
) -> NewCall:
    """Return the children of a step.

    Raises:
        StepError: naming each unacceptable field.
    """
    if unknown := [field for field in fields if field not in NewJob.__dataclass_fields__]:
        raise StepError(f"children of step {name!r:.120}: {', '.join(unknown)}: not a known field")
    try:
        jobs = tuple(NewJob(type=kind, data={} if data is None else data, **cast("Any", fields)) for data in items)
        return NewCall(jobs=jobs, single=single, failures=failures)
    except (InvalidInputError, TooLargeError) as error:
        raise StepError(f"children of step {name!r:.120}: {error}") from error


class ResultsOf:
    """Results that are loaded when they are asked for: awaited as a dict, or iterated one by one."""

    def __init__(
        self, load: Callable[[], Coroutine[Any, Any, dict[str, Any]]], each: Callable[[], AsyncIterator[Any]]
    ) -> None:
        self._load = load
        self._each = each

    def __await__(self) -> Generator[Any, Any, dict[str, Any]]:
        return self._load().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._each()


class AsyncCalls:
    """Awaited children of an async handler."""

    _stepper: Stepper

    async def call(
        self,
        name: str,
        type_or_task: str,
        data: Mapping[str, Any] | None = None,
        *,
        failures: Failures = "raise",
        **fields: Unpack[JobOptions],
    ) -> Any:
        """Run a job as a child of this one, and return its result; this job is suspended meanwhile.

        The child is created once, whatever happens to this job. After its failure a later attempt of this job requeues
        the child.

        Args:
            name: of the step, which finds the child again.
            type_or_task: the type of the child.
            data: its input.
            failures: ``raise`` raises the failure of the child, ``return`` returns it, ``hold`` goes on waiting until
                a person has requeued the child.
            fields: of the child, as of any new job; its queue is ``default`` unless they name another.

        Raises:
            ChildFailedError: the child has failed, was killed, or was deleted.
            StepError: the name or a field cannot be used.
            KeyConflictError: another unfinished job has the key of the child.
        """
        new = new_call(name, type_or_task, [data], failures, fields, single=True)
        return decoded(await self._called(name, new))

    async def map(
        self,
        name: str,
        type_or_task: str,
        items: Iterable[Mapping[str, Any]],
        *,
        failures: Failures = "raise",
        **fields: Unpack[JobOptions],
    ) -> list[Any]:
        """Run a child for each item, its input, and return their results in the order of the items; as `call`.

        Args:
            name: of the step.
            type_or_task: the type of the children.
            items: at most 5,000.
            failures: as `call`; ``return`` puts each failure in the place of its result.
            fields: of each child.

        Raises:
            ChildFailedError: a child has failed, after all have ended.
            ResultUnavailableError: the results take more than 64 MiB together: ``results_of`` reads them one by one.
        """
        new = new_call(name, type_or_task, items, failures, fields, single=False)
        return [decoded(result) for result in await self._called(name, new)]

    async def _called(self, name: str, new: NewCall) -> Any:
        with self._stepper.named(name) as key:
            unfinished = await self._stepper.begin_call(key, new)
            if unfinished is not None:
                await self._stepper.park_call(key, unfinished)
            return await self._stepper.result(key)

    async def _results_of_children(self, name: str) -> AsyncIterator[Any]:
        async for result in self._stepper.child_results(name):
            yield decoded(result)


class BlockingCalls:
    """Awaited children of a plain handler, which runs in a thread."""

    _stepper: Stepper
    _call: Callable[[Coroutine[Any, Any, Any]], Any]

    def call(
        self,
        name: str,
        type_or_task: str,
        data: Mapping[str, Any] | None = None,
        *,
        failures: Failures = "raise",
        **fields: Unpack[JobOptions],
    ) -> Any:
        """Run a job as a child of this one; as `AsyncCalls.call`. The thread of the handler ends meanwhile."""
        new = new_call(name, type_or_task, [data], failures, fields, single=True)
        return decoded(self._called(name, new))

    def map(
        self,
        name: str,
        type_or_task: str,
        items: Iterable[Mapping[str, Any]],
        *,
        failures: Failures = "raise",
        **fields: Unpack[JobOptions],
    ) -> list[Any]:
        """Run a child for each item; as `AsyncCalls.map`."""
        new = new_call(name, type_or_task, items, failures, fields, single=False)
        return [decoded(result) for result in self._called(name, new)]

    def each_result_of(self, name: str) -> Iterator[Any]:
        """Yield the results of the children of a finished step in their order, however large they are together."""
        results = self._stepper.child_results(name).__aiter__()

        async def following() -> tuple[Any, ...]:
            try:
                return (await anext(results),)
            except StopAsyncIteration:
                return ()

        while found := self._call(following()):
            yield decoded(found[0])

    def _called(self, name: str, new: NewCall) -> Any:
        with self._stepper.named(name) as key:
            unfinished = self._call(self._stepper.begin_call(key, new))
            if unfinished is not None:
                raise self._stepper.suspend_call(key, unfinished)
            return self._call(self._stepper.result(key))
