"""Workflows: jobs of one batch and their order, put together in Python before anything is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.text import type_name
from jobqueue.domain.workflow.batch import Member, NewBatch, ref_stem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    from jobqueue.domain.jobs.task_job import TaskJob

    After: TypeAlias = "Member[Any] | str | Iterable[Member[Any] | str]"

R = TypeVar("R")
NAME: Final = "workflow"
"""The name of the workflow in ``meta`` of its batch."""


class Workflow:
    """Jobs that depend on each other; ``await queue.start(flow)`` adds them in one request, all or none.

    A member only waits for members that were added before it, so no cycle can be written.

    Args:
        name: kept as ``meta.workflow`` of the batch.
        meta: of the batch, for searches.

    Raises:
        InvalidInputError: the name cannot be used.
    """

    def __init__(self, name: str | None = None, *, meta: Mapping[str, Any] | None = None) -> None:
        given: object = name
        if given is not None and not (isinstance(given, str) and given):
            raise InvalidInputError({"name": ["must be a text that is not empty"]})
        self.meta = {**({} if name is None else {NAME: name}), **(meta or {})}
        self._members: dict[str, Member[Any]] = {}
        self._ends: dict[str, None] = {}
        self._callbacks: dict[str, list[NewJob]] = {"on_complete": [], "on_success": [], "on_failure": []}

    def __repr__(self) -> str:
        return f"<Workflow {self.meta.get(NAME, '')} of {len(self._members):,} jobs>"

    @property
    def members(self) -> tuple[Member[Any], ...]:
        """The jobs in the order in which they were added."""
        return tuple(self._members.values())

    @overload
    def add(self, job: TaskJob[R], *, after: After = (), ref: str | None = None) -> Member[R]: ...
    @overload
    def add(self, job: NewJob, *, after: After = (), ref: str | None = None) -> Member[Any]: ...
    def add(self, job: NewJob, *, after: After = (), ref: str | None = None) -> Member[Any]:
        """Add a job.

        Args:
            job: of ``task.new(…)``, or a `NewJob`.
            after: members, their refs, or ids of any jobs, that must succeed first.
            ref: the name of the job in ``job.results`` of those after it; ``None`` makes one of its type.

        Raises:
            InvalidInputError: the ref is taken, or a member belongs to another workflow.
            TypeError: the job is no new job.
        """
        if not isinstance(job, NewJob):
            raise TypeError(f"a workflow takes jobs of task.new(…) or NewJob(…), not {type_name(job)}")
        name = self._free(job.type) if ref is None else ref
        if name in self._members:
            raise InvalidInputError({"ref": [f"{name!r} is the ref of another job of this workflow"]})
        before = self._refs(after)
        member: Member[Any] = Member(job=job, ref=name, after=before)
        self._members[name] = member
        self._ends = {end: None for end in self._ends if end not in before} | {name: None}
        return member

    @overload
    def add_each(self, jobs: Iterable[TaskJob[R]], *, after: After = (), ref: str | None = None) -> list[Member[R]]: ...
    @overload
    def add_each(self, jobs: Iterable[NewJob], *, after: After = (), ref: str | None = None) -> list[Member[Any]]: ...
    def add_each(self, jobs: Iterable[NewJob], *, after: After = (), ref: str | None = None) -> list[Member[Any]]:
        """Add jobs side by side, each after the same members; as `add`.

        Args:
            jobs: any number.
            after: as `add`.
            ref: the stem of their refs: ``thumb`` makes ``thumb-1``, ``thumb-2`` and so on; ``None`` for their type.
        """
        before = self._refs(after)
        return [
            self.add(job, after=before, ref=None if ref is None else f"{ref}-{number}")
            for number, job in enumerate(jobs, start=1)
        ]

    def then(self, *jobs: NewJob) -> Workflow:
        """Add jobs after all members that no other waits for; return this workflow."""
        self.add_each(jobs, after=tuple(self._ends))
        return self

    def on_complete(self, job: NewJob) -> None:
        """Create a job when all jobs have ended."""
        self._callbacks["on_complete"].append(job)

    def on_success(self, job: NewJob) -> None:
        """Create a job when all jobs have succeeded."""
        self._callbacks["on_success"].append(job)

    def on_failure(self, job: NewJob) -> None:
        """Create a job at the first final failure."""
        self._callbacks["on_failure"].append(job)

    def batch(self) -> NewBatch:
        """Return the batch to be created.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        callbacks: dict[str, Any] = {name: tuple(jobs) for name, jobs in self._callbacks.items() if jobs}
        return NewBatch(members=self.members, meta=self.meta, **callbacks)

    def _free(self, kind: str) -> str:
        """Return a ref that no member has, made of the type of a job."""
        name = stem = ref_stem(kind)
        number = 1
        while name in self._members:
            number += 1
            name = f"{stem}-{number}"
        return name

    def _refs(self, after: After) -> tuple[str, ...]:
        members = (after,) if isinstance(after, Member | str) else tuple(after)
        return tuple(self._ref(member) for member in members)

    def _ref(self, member: Member[Any] | str) -> str:
        if isinstance(member, str):
            return member
        if not isinstance(member, Member):
            raise TypeError(f"after takes members of the workflow, refs and ids of jobs, not {type_name(member)}")
        if member.ref is None or self._members.get(member.ref) is not member:
            raise InvalidInputError({"after": [f"{member.ref!r} is no member of this workflow"]})
        return member.ref


def chain(*jobs: NewJob, name: str | None = None, meta: Mapping[str, Any] | None = None) -> Workflow:
    """Return a workflow in which each job runs after the one before.

    Args:
        jobs: in their order.
        name: as of `Workflow`.
        meta: as of `Workflow`.
    """
    flow = Workflow(name, meta=meta)
    for job in jobs:
        flow.then(job)
    return flow


def gather(*jobs: NewJob, name: str | None = None, meta: Mapping[str, Any] | None = None) -> Workflow:
    """Return a workflow of jobs side by side; ``gather(a, b).then(c)`` runs ``c`` after both.

    Args:
        jobs: in any order.
        name: as of `Workflow`.
        meta: as of `Workflow`.
    """
    return Workflow(name, meta=meta).then(*jobs)
