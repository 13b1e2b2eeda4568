"""Batches: jobs that belong together, and may depend on each other."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Generic, Literal

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.job import NewJob, check_content, children
from jobqueue.domain.values.checks import check_flag, check_id, gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from typing_extensions import TypeVar

    from jobqueue.domain.insight.trace_context import TraceContext
    from jobqueue.domain.jobs.job import Children

    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

MOST_MEMBERS: Final = 10_000
"""Jobs that one request adds to a batch."""
_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
_NOT_IN_REF: Final = re.compile(r"[^A-Za-z0-9_.:-]")
_LONGEST_STEM: Final = 90
Event = Literal["complete", "success", "failure"]
_CALLBACKS: Final = {"on_complete": "onComplete", "on_success": "onSuccess", "on_failure": "onFailure"}
Ending = Literal["success", "failed"]
SUCCESS: Final = "success"
FAILED: Final = "failed"
EVENTS: Final[Mapping[Event, str]] = {"complete": "on_complete", "success": "on_success", "failure": "on_failure"}

OPEN = "open"
FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member(Generic[R_co]):
    """A job to be added to a batch; ``R_co`` is the type of its result, if the job has one.

    Attributes:
        job: the job, which may depend on jobs outside of the batch by their ids.
        ref: the name of the job within the batch.
        after: refs of jobs of the batch that must succeed first, or ids of any jobs.
        blocks: refs or ids of waiting jobs of the batch, which wait for this job too.
    """

    job: NewJob
    ref: str | None = None
    after: Sequence[str] = ()
    blocks: Sequence[str] = ()


def new_member(
    queue: str, kind: str, data: Mapping[str, Any] | None, after: Sequence[str], options: Mapping[str, Any]
) -> Member:
    """Return a job for a batch from the arguments of ``job.add``.

    Args:
        queue: of the job, unless the options name another.
        kind: its type.
        data: its input.
        after: refs of jobs of the batch, or ids.
        options: fields of the job, ``ref`` and ``blocks``.

    Raises:
        InvalidInputError: naming each unacceptable field.
    """
    fields = {"queue": queue} | {name: value for name, value in options.items() if name not in {"ref", "blocks"}}
    job = NewJob(type=kind, data={} if data is None else data, **fields)
    return Member(job=job, ref=options.get("ref"), after=tuple(after), blocks=tuple(options.get("blocks", ())))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to be created; ``sealed`` if no further jobs will come.

    Its callbacks are jobs, in the form of the children of a `NewJob`.

    Attributes:
        queues: the queues of its creator, if they are limited; they decide who sees a batch without jobs.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: the ``meta`` is over the limit.
    """

    members: Sequence[Member] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    sealed: bool = True
    on_complete: Children = None
    on_success: Children = None
    on_failure: Children = None
    queues: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems: Problems = {}
        object.__setattr__(self, "members", tuple(self.members))
        gather(problems, check_content, self.meta, "meta")
        gather(problems, check_flag, self.sealed, "sealed")
        for name, field_name in _CALLBACKS.items():
            object.__setattr__(self, name, gather(problems, children, getattr(self, name), field_name))
        if problems:
            raise InvalidInputError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A job with the key of a callback, which was therefore not created.

    Attributes:
        event: the event of the callback.
        index: the number of the callback among those of its event.
        generation: the generation of the batch.
        key: the key of both.
        job_id: the id of the job.
    """

    event: str
    index: int
    generation: int
    key: str
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A stored batch.

    Attributes:
        state: ``open`` until the batch is sealed and all its jobs have ended.
        generation: the number of openings after an end.
        additions: the number of additions and requeues of jobs.
        outbox: work that is not done yet: callbacks to create, or a requeue.
        verdict: the last verdict whose callbacks fired: ``success`` or ``failed``.
        failed_in: the last generation whose first failure fired its callback.
        loud_in: the last generation that a requeue of the whole batch opened; its callbacks fire in any case.
        again_in: the last generation for which ``on_success`` fires once more.
        restarts: the number of restarts of all failed jobs.
        stand_ins: jobs with the keys of callbacks.
        trace: the span in which the batch was created, if it was traced.
    """

    id: str
    meta: Mapping[str, Any]
    insert_at: datetime
    sealed: bool
    state: str
    end_at: datetime | None
    on_complete: Children
    on_success: Children
    on_failure: Children
    generation: int = 0
    additions: int = 0
    outbox: tuple[str, ...] = ()
    verdict: str | None = None
    failed_in: int | None = None
    loud_in: int | None = None
    again_in: int | None = None
    restarts: int = 0
    stand_ins: tuple[StandIn, ...] = ()
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationEnd:
    """The end of a generation of a batch.

    Attributes:
        verdict: the new verdict of the batch.
        events: the due callbacks; ``failure`` only if the first failure has not fired it already.
    """

    verdict: str | None
    events: tuple[Event, ...]


def generation_end(batch: Batch, *, failed: bool) -> GenerationEnd:
    """Return the end of a generation of a batch; ``failed`` if a job of the batch has failed or was killed.

    The callbacks fire if the verdict changes or this generation has fired its failure already. They also fire in a
    generation that a requeue of the whole batch has opened.
    """
    verdict = FAILED if failed else SUCCESS
    is_news = batch.verdict != verdict or batch.failed_in == batch.generation
    if not is_news and batch.loud_in != batch.generation:
        return GenerationEnd(verdict=batch.verdict, events=())
    events: list[Event] = ["complete"] if batch.on_complete else []
    if failed and batch.on_failure:
        events.append("failure")
    if not failed and batch.on_success and (is_news or batch.again_in == batch.generation):
        events.append("success")
    return GenerationEnd(verdict=verdict, events=tuple(events))


def is_ref(text: object) -> bool:
    """Tell whether a text can be the name of a job within its batch."""
    return isinstance(text, str) and bool(_REF.fullmatch(text))


def ref_stem(kind: str) -> str:
    """Return a text made of the type of a job that can begin its ref."""
    stem = _NOT_IN_REF.sub("_", kind)[:_LONGEST_STEM]
    return stem if stem[0].isalnum() or stem[0] == "_" else f"_{stem}"


def check_refs(members: Sequence[Member]) -> None:
    """Check that no two jobs of one request have the same ref.

    Raises:
        InvalidInputError: naming each repeated ref.
    """
    problems: Problems = {}
    seen: set[str] = set()
    for place, member in enumerate(members):
        if member.ref is not None and member.ref in seen:
            problems[f"jobs.{place}.ref"] = [f"{member.ref!r} is the ref of another job of this request"]
        elif member.ref is not None:
            seen.add(member.ref)
    if problems:
        raise InvalidInputError(problems)


def resolve_refs(members: Sequence[Member], known: Iterable[str] = ()) -> tuple[Member, ...]:
    """Return the jobs of one request with refs and ids told apart; check that no jobs wait for each other.

    ``known`` are the refs of jobs that are in the batch already.

    Raises:
        InvalidInputError: naming each repeated or unknown ref, and the jobs of a cycle.
    """
    check_refs(members)
    problems: Problems = {}
    before = set(known)
    places = {member.ref: place for place, member in enumerate(members) if member.ref is not None}
    jobs = tuple(_told_apart(member, place, before | places.keys(), problems) for place, member in enumerate(members))
    if problems:
        raise InvalidInputError(problems)
    if cycle := _left_in_cycles(jobs, places):
        raise InvalidInputError({f"jobs.{place}.dependsOn": ["is part of a cycle"] for place in cycle})
    return jobs


def _told_apart(member: Member, place: int, refs: AbstractSet[str], problems: Problems) -> Member:
    ids: list[str] = []
    for index, name in enumerate(member.after):
        if name == member.ref:
            problems[f"jobs.{place}.dependsOn.{index}"] = ["is the job itself"]
        elif name not in refs:
            try:
                ids.append(check_id(name))
            except InvalidInputError:
                message = f"{name!r} is neither a ref of this batch nor the id of a job"
                problems[f"jobs.{place}.dependsOn.{index}"] = [message]
    if not ids:
        return member
    job = replace(member.job, depends_on=(*member.job.depends_on, *ids))
    return replace(member, job=job, after=tuple(name for name in member.after if name in refs))


def _left_in_cycles(members: Sequence[Member], places: Mapping[str, int]) -> list[int]:
    """Return the places of jobs that wait for each other (Kahn's algorithm)."""
    waits = [len({ref for ref in member.after if ref in places}) for member in members]
    followers: dict[int, list[int]] = {}
    for place, member in enumerate(members):
        for ref in {ref for ref in member.after if ref in places}:
            followers.setdefault(places[ref], []).append(place)
    free = deque(place for place, count in enumerate(waits) if not count)
    while free:
        for follower in followers.get(free.popleft(), ()):
            waits[follower] -= 1
            if not waits[follower]:
                free.append(follower)
    return [place for place, count in enumerate(waits) if count]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCursor:
    """A place in a listing of batches, newest first; it names no batch, which the caller may not know.

    Attributes:
        millisecond: milliseconds since 1970; no newer batch follows.
        passed: the number of batches of this millisecond that were listed already.
    """

    millisecond: int
    passed: int


def after_batch(batch: Batch, before: BatchCursor | None) -> BatchCursor:
    """Return the place after a batch that came next after the place ``before``."""
    millisecond = round(batch.insert_at.timestamp() * 1000)
    passed = before.passed if before is not None and before.millisecond == millisecond else 0
    return BatchCursor(millisecond=millisecond, passed=passed + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch with the counts by state and the progress of its jobs."""

    batch: Batch
    counts: Mapping[str, int]
    progress: float

    @property
    def total(self) -> int:
        """Return the number of jobs."""
        return sum(self.counts.values())

    @property
    def verdict(self) -> str | None:
        """The last verdict whose callbacks fired; for a batch that finished in version 0.3.0 that of its jobs."""
        if self.batch.verdict is not None or self.batch.state == OPEN:
            return self.batch.verdict
        return FAILED if self.counts[State.FAILED.value] + self.counts[State.KILLED.value] else SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedMember:
    """The id and the ref of a job that was added to a batch; ``existed`` if the batch had the job already."""

    id: str
    ref: str | None
    existed: bool = False
