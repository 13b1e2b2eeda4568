"""The calls by which a handler reads the jobs before it, and adds jobs to its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, Unpack, cast

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.workflow.batch import Member, ref_stem

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from jobqueue.domain.jobs.options import JobOptions, MemberOptions
    from jobqueue.domain.jobs.task_job import TypedTask
    from jobqueue.domain.search.query import Page
    from jobqueue.domain.work.verdict import Relatives

    Items: TypeAlias = Iterable[Mapping[str, Any] | NewJob]

T = TypeVar("T")
R = TypeVar("R")
_AT_ONCE: Final = 1_000


class NewJobs(Protocol):
    """A task, as far as it makes jobs."""

    @property
    def names(self) -> Sequence[str]:
        """The types of its jobs."""

    def new(self, *args: Any, **kwargs: Any) -> NewJob:
        """Return a job with these arguments."""


class _OfBatch:
    """The parts of a running job that the calls use."""

    if TYPE_CHECKING:

        @property
        def parents(self) -> Sequence[Mapping[str, Any]]:
            """The dependencies of the job."""

        @property
        def queue(self) -> str:
            """The queue of the job."""

        @property
        def _relatives(self) -> Relatives: ...


class AsyncBatchCalls(_OfBatch):
    """The batch of an async handler."""

    async def result_of(self, task: TypedTask[R]) -> R:
        """Return the result of the only dependency that is a job of a task, in the type that the task declares.

        Raises:
            LookupError: the job has no such dependency, or several.
            ResultUnavailableError: the job was deleted or started anew, or its result is of another type.
        """
        return task.decode(await self._result(_only(self.parents, task)))

    async def all_results_of(self, task: TypedTask[R]) -> list[R]:
        """Return the results of all dependencies that are jobs of a task, in their order; as `result_of`.

        A dependency that has failed, and that the job did not need, is left out.
        """
        return [task.decode(await self._result(entry)) for entry in _succeeded(self.parents, task)]

    async def batch_jobs(self, cursor: str | None = None, *, limit: int = 100) -> Page:
        """Return a page of jobs, with their results, of the batch that this job belongs to or is a callback of."""
        return await self._relatives.batch_jobs(cursor, limit)

    async def add(
        self,
        kind: str,
        data: Mapping[str, Any] | None = None,
        *,
        after: Sequence[str] = (),
        **options: Unpack[MemberOptions],
    ) -> str:
        """Add a job to the batch of this one, and to its queue by default; return the id of the new job.

        Args:
            kind: its type.
            data: its input.
            after: refs of jobs of the batch, or ids, that have to succeed first.
            options: fields of the new job. With a ``ref`` that the batch has already nothing is added, so a
                repeated attempt may add its jobs again.

        Raises:
            InvalidInputError: naming each unacceptable field.
            ConflictError: the claim of this job is lost.
        """
        return await self._relatives.add(kind, data, after, options)

    async def add_all(self, members: Sequence[Member]) -> list[str]:
        """Add up to 10,000 jobs to the batch of this one, all or none; return their ids in their order.

        Raises:
            InvalidInputError, ConflictError: as `add`.
        """
        return await self._relatives.add_all(members)

    async def fan_out(
        self,
        type_or_task: str | NewJobs,
        items: Items,
        *,
        ref: str | None = None,
        join: str | Sequence[str] = (),
        **options: Unpack[JobOptions],
    ) -> list[str]:
        """Add a job for each item to the batch of this one; return their ids in their order.

        The refs are numbered, so a repeated attempt adds nothing twice, as long as it has the same items in the same
        order: make them the result of a step, or give ``key``-like refs of your own by `add_all`.

        Args:
            type_or_task: of the jobs.
            items: the data of each, or jobs of ``task.new(…)``.
            ref: the stem of their refs: ``thumb`` makes ``thumb-1``, ``thumb-2`` and so on; ``None`` for their type.
            join: refs or ids of waiting jobs of the batch, which wait for the new jobs too.
            options: of each job; its queue is that of the task, or else of this job.

        Raises:
            InvalidInputError, ConflictError: as `add`.
        """
        ids: list[str] = []
        for part in _parts(type_or_task, items, ref, join, {"queue": self.queue, **options}):
            ids += await self._relatives.add_all(part)
        return ids

    async def _result(self, entry: Mapping[str, Any]) -> Any:
        return await self._relatives.result(entry["id"]) if "result" not in entry else entry["result"]


class BlockingBatchCalls(_OfBatch):
    """The batch of a plain handler: the same calls, without ``await``."""

    _call: Callable[[Coroutine[Any, Any, Any]], Any]

    def result_of(self, task: TypedTask[R]) -> R:
        """Return the result of a dependency; as `AsyncBatchCalls.result_of`."""
        return task.decode(self._result(_only(self.parents, task)))

    def all_results_of(self, task: TypedTask[R]) -> list[R]:
        """Return the results of dependencies; as `AsyncBatchCalls.all_results_of`."""
        return [task.decode(self._result(entry)) for entry in _succeeded(self.parents, task)]

    def batch_jobs(self, cursor: str | None = None, *, limit: int = 100) -> Page:
        """Return a page of the jobs of its batch; as `AsyncBatchCalls.batch_jobs`."""
        return cast("Page", self._call(self._relatives.batch_jobs(cursor, limit)))

    def add(
        self,
        kind: str,
        data: Mapping[str, Any] | None = None,
        *,
        after: Sequence[str] = (),
        **options: Unpack[MemberOptions],
    ) -> str:
        """Add a job to the batch of this one; as `AsyncBatchCalls.add`."""
        return cast("str", self._call(self._relatives.add(kind, data, after, options)))

    def add_all(self, members: Sequence[Member]) -> list[str]:
        """Add jobs to the batch of this one, all or none; as `AsyncBatchCalls.add_all`."""
        return cast("list[str]", self._call(self._relatives.add_all(members)))

    def fan_out(
        self,
        type_or_task: str | NewJobs,
        items: Items,
        *,
        ref: str | None = None,
        join: str | Sequence[str] = (),
        **options: Unpack[JobOptions],
    ) -> list[str]:
        """Add a job for each item to the batch of this one; as `AsyncBatchCalls.fan_out`."""
        ids: list[str] = []
        for part in _parts(type_or_task, items, ref, join, {"queue": self.queue, **options}):
            ids += self._call(self._relatives.add_all(part))
        return ids

    def _result(self, entry: Mapping[str, Any]) -> Any:
        return self._call(self._relatives.result(entry["id"])) if "result" not in entry else entry["result"]


def _only(parents: Sequence[Mapping[str, Any]], task: TypedTask[Any]) -> Mapping[str, Any]:
    """Return the only dependency that is a job of a task.

    Raises:
        LookupError: there is none, or there are several.
    """
    entries = [entry for entry in parents if entry.get("type") in task.names]
    if len(entries) != 1:
        count = f"{len(entries):,} dependencies" if entries else "no dependency"
        advice = "use all_results_of" if entries else f"add it after a job of {task.names[0]}"
        raise LookupError(f"{count} of the job has the type {task.names[0]!r}: {advice}")
    return entries[0]


def _succeeded(parents: Sequence[Mapping[str, Any]], task: TypedTask[Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in parents if entry.get("type") in task.names and entry.get("state") == "success"]


def _parts(
    type_or_task: str | NewJobs, items: Items, ref: str | None, join: str | Sequence[str], options: Mapping[str, Any]
) -> Iterator[list[Member]]:
    """Yield the members of a fan-out, as many at a time as one request takes.

    Raises:
        InvalidInputError: naming each unacceptable field.
    """
    kind = type_or_task if isinstance(type_or_task, str) else type_or_task.names[0]
    stem = ref_stem(kind) if ref is None else ref
    blocks = (join,) if isinstance(join, str) else tuple(join)
    if unknown := unknown_names(options, NewJob.__dataclass_fields__):
        raise InvalidInputError(unknown)
    part: list[Member] = []
    for number, item in enumerate(items, start=1):
        part.append(Member(job=_job(type_or_task, item, options), ref=f"{stem}-{number}", blocks=blocks))
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _job(type_or_task: str | NewJobs, item: Mapping[str, Any] | NewJob, options: Mapping[str, Any]) -> NewJob:
    if isinstance(item, NewJob):
        return item
    if isinstance(type_or_task, str):
        return NewJob(type=type_or_task, data=item, **options)
    return type_or_task.new(**item)
