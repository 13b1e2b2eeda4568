"""Batches: jobs that belong together, in whatever order they depend on each other."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.checks import check_flag, check_id, gather
from jobqueue.domain.jobs.job import check_content, children

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from jobqueue.domain.jobs.job import Children, NewJob

MOST_MEMBERS: Final = 10_000
"""Jobs that one request may add to a batch."""
_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
Event = Literal["complete", "success", "failure"]
_CALLBACKS: Final = {"on_complete": "onComplete", "on_success": "onSuccess", "on_failure": "onFailure"}
Ending = Literal["success", "failed"]
SUCCESS: Final = "success"
FAILED: Final = "failed"
EVENTS: Final[Mapping[Event, str]] = {"complete": "on_complete", "success": "on_success", "failure": "on_failure"}

OPEN = "open"
FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A job to be added to a batch.

    Attributes:
        job: itself; it may depend on jobs outside of the batch by their ids.
        ref: its name within the batch.
        after: refs of jobs of the batch that have to succeed first, or ids of any jobs.
        blocks: refs or ids of jobs of the batch that wait for others, and are to wait for this one too.
    """

    job: NewJob
    ref: str | None = None
    after: Sequence[str] = ()
    blocks: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to be created; ``sealed`` if no further jobs will come.

    Its callbacks are jobs, given as the children of a `NewJob` are.

    Attributes:
        queues: the queues to which its creator is limited, if it is: so that it is theirs while it has no jobs.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: its meta is over the limit.
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
    """A job that has the key of a callback, and for which that was not created.

    Attributes:
        event: of the callback.
        index: of the callback among those of its event.
        generation: of the batch.
        key: the key of both.
        job_id: the job.
    """

    event: str
    index: int
    generation: int
    key: str
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it is stored.

    Attributes:
        state: ``open`` until it is sealed and all of its jobs have ended.
        generation: how often it was opened again after it had finished.
        additions: how often jobs were added to it, or requeued.
        outbox: what has to be done for it and is not done yet: callbacks to be created, or its requeue.
        verdict: the last one whose callbacks fired: ``success`` or ``failed``.
        failed_in: the last generation whose first failure was told.
        loud_in: the last generation that a requeue of the whole batch has opened: its callbacks fire in any case.
        again_in: the last generation for which `on_success` was asked for once more.
        restarts: how often its failed jobs were restarted as a whole.
        stand_ins: jobs that have the keys of callbacks.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationEnd:
    """The end of a generation of a batch.

    Attributes:
        verdict: the batch's verdict from then on.
        events: the callbacks that are due; ``failure`` only if the first failure has not been told already.
    """

    verdict: str | None
    events: tuple[Event, ...]


def closing(batch: Batch, *, failed: bool) -> GenerationEnd:
    """Return how a generation of a batch ends.

    The callbacks fire if the verdict is another one than before, if this generation has told of a failure already, or
    if a requeue of the whole batch has opened it.

    Args:
        batch: as it is before.
        failed: a job of it has failed or was killed.
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


def check_refs(members: Sequence[Member]) -> None:
    """Make sure that no two jobs of one request have the same ref.

    Raises:
        InvalidInputError: naming each ref that comes again.
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


def arranged(members: Sequence[Member], known: Iterable[str] = ()) -> tuple[Member, ...]:
    """Return the jobs with refs and ids told apart, and make sure that they can run one after the other.

    Args:
        members: to be added at once.
        known: refs of jobs that are in the batch already.

    Raises:
        InvalidInputError: naming each ref that comes twice or is unknown, and the jobs of a cycle.
    """
    check_refs(members)
    problems: Problems = {}
    before = set(known)
    places = {member.ref: place for place, member in enumerate(members) if member.ref is not None}
    found = tuple(_told_apart(member, place, before | places.keys(), problems) for place, member in enumerate(members))
    if problems:
        raise InvalidInputError(problems)
    if cycle := _left_in_cycles(found, places):
        raise InvalidInputError({f"jobs.{place}.dependsOn": ["is part of a cycle"] for place in cycle})
    return found


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
    """Where a listing goes on, newest first: it names no batch, as that may be nobody's business.

    Attributes:
        millisecond: since 1970; nothing newer follows.
        passed: how many of this millisecond are not listed again.
    """

    millisecond: int
    passed: int


def after_batch(batch: Batch, before: BatchCursor | None) -> BatchCursor:
    """Return the place after a batch that was the next one from a place on."""
    millisecond = round(batch.insert_at.timestamp() * 1000)
    passed = before.passed if before is not None and before.millisecond == millisecond else 0
    return BatchCursor(millisecond=millisecond, passed=passed + 1)
