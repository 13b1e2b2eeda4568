"""Everything that needs somebody now, each in a sentence with the command that mends it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.durations import spoken
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.work.failure import BY_COUNT, FailureQuery
from jobqueue.services.schedules.schedules import is_within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.schedules.schedule import StoredSchedule
    from jobqueue.services.bulk.failures import Failures
    from jobqueue.services.queues.explain import Reason
    from jobqueue.services.queues.queue_why import QueueExplainer
    from jobqueue.services.queues.queues import Queues
    from jobqueue.services.schedules.schedules import Schedules
    from jobqueue.services.work.roster import Roster
    from jobqueue.store.bulk.operations import OperationStore
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.search.listings import Listing

RECENT: Final = timedelta(hours=1)
"""Failures that are news."""
SKIPPED: Final = timedelta(hours=24)
"""Skipped times of schedules that are news."""
TRIED: Final = timedelta(days=7)
"""Trials whose rest waits for somebody, and that are news."""
STUCK_SECONDS: Final = 60.0
"""Seconds for which a job could have been claimed, after which its queue is stuck."""
CONCERNS: Final = ("failures", "queue", "breaker", "worker", "schedule", "doubt", "question", "operation")
"""The kinds of concerns."""
_MOST: Final = 20
_MOST_QUEUES: Final = 500
_TOGETHER: Final = 10
_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """A thing that needs somebody.

    Attributes:
        kind: one of `CONCERNS`.
        message: a sentence.
        command: the words of the command of ``jobqueue`` that mends it, or says more.
        details: for programs, in JSON form.
    """

    kind: str
    message: str
    command: tuple[str, ...]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at everything.

    Attributes:
        incomplete: kinds of which there may be more concerns than these.
        queues: the number of queues that were looked at.
    """

    concerns: tuple[Concern, ...]
    incomplete: frozenset[str]
    queues: int


class Concerns:
    """Finds what needs somebody."""

    def __init__(
        self,
        failures: Failures,
        queues: Queues,
        explainer: QueueExplainer,
        roster: Roster,
        schedules: Schedules,
        listing: Listing,
        operations: OperationStore,
        clock: ServerClock,
    ) -> None:
        self._failures = failures
        self._queues = queues
        self._explainer = explainer
        self._roster = roster
        self._schedules = schedules
        self._listing = listing
        self._operations = operations
        self._clock = clock

    async def all(self, scope: Scope = EVERYTHING) -> list[Concern]:
        """Return what needs somebody, the most urgent kinds first; at most twenty of each kind.

        Args:
            scope: of the caller. A scope of ``meta`` has no concerns about whole queues, workers and schedules.
        """
        return list((await self.look(scope)).concerns)

    async def look(self, scope: Scope = EVERYTHING, *, most: int = _MOST) -> Look:
        """Return concerns as `all`, at most so many of each kind, and of which kinds there may be more."""
        now = await self._clock.now()
        names = [] if scope.meta else [name for name in await self._queues.names() if scope.has_queue(name)]
        kinds = [self._failing(now, scope, most), self._doubts(scope, most), self._asking(scope, most)]
        if not scope.meta:
            whole = [self._stuck(names, scope, 2 * most), self._silent(now, scope, most)]
            kinds[1:1] = [*whole, self._skipping(now, scope, most)]
        kinds.append(self._tried(now, scope, most))
        found = await asyncio.gather(*kinds)
        incomplete = {concerns[0].kind for concerns in found if len(concerns) >= most}
        incomplete |= {"failures"} if any(each.details == {} for each in found[0]) else set()
        incomplete |= {"queue", "breaker"} if len(names) > _MOST_QUEUES or incomplete & {"queue", "breaker"} else set()
        return Look(
            concerns=tuple(concern for concerns in found for concern in concerns),
            incomplete=frozenset(incomplete),
            queues=len(names),
        )

    async def _failing(self, now: datetime, scope: Scope, most: int) -> list[Concern]:
        query = FailureQuery(ended_after=now - RECENT, sort=BY_COUNT, limit=most)
        try:
            groups, _ = await self._failures.page(query, scope=scope)
        except InvalidInputError:
            message = "more jobs failed within the last hour than can be grouped"
            return [Concern(kind="failures", message=message, command=("failures",))]
        concerns = []
        for group in groups:
            error = group.sample.error
            what = f"{error.kind}: {group.message}" if error is not None else group.message
            ago = "" if group.last_at is None else f", the last {spoken((now - group.last_at).total_seconds())} ago"
            count = f"{group.count:,} job{'' if group.count == 1 else 's'} of type {group.sample.type}"
            concerns.append(
                Concern(
                    kind="failures",
                    message=f"{count} failed within the last hour{ago}: {what}",
                    command=("failures", "show", group.fingerprint),
                    details={
                        "fingerprint": group.fingerprint,
                        "type": group.sample.type,
                        "count": group.count,
                        "lastAt": json_form.value(group.last_at),
                        "error": what,
                        "job": group.sample.id,
                        "queues": list(group.queues),
                    },
                )
            )
        return concerns

    async def _stuck(self, names: Sequence[str], scope: Scope, most: int) -> list[Concern]:
        names = names[:_MOST_QUEUES]
        concerns: list[Concern] = []
        for start in range(0, len(names), _TOGETHER):
            found = await asyncio.gather(*(self._of_queue(name, scope) for name in names[start : start + _TOGETHER]))
            concerns += [concern for of_queue in found for concern in of_queue]
        return concerns[:most]

    async def _of_queue(self, name: str, scope: Scope) -> list[Concern]:
        breakers, age = await self._queues.trouble(name)
        concerns = [_breaker(name, state) for state in breakers if state["state"] != "closed"]
        if age is None or age < STUCK_SECONDS:
            return concerns
        view, _ = await self._queues.view(name)
        why = await self._explainer.why(name, scope)
        if not why.reasons:
            return concerns
        waiting = view["counts"]["pending"]
        text = "; ".join(_sentence(reason) for reason in why.reasons)
        message = f"queue {name} is stuck: {waiting:,} pending, the oldest for {spoken(age)}: {text}"
        command = ("queue", "resume", name) if view["paused"] else ("why", "--queue", name)
        details = {"queue": name, "pending": waiting, "oldestPendingAge": age, "why": text}
        details["reasons"] = [reason.kind for reason in why.reasons]
        return [*concerns, Concern(kind="queue", message=message, command=command, details=details)]

    async def _silent(self, now: datetime, scope: Scope, most: int) -> list[Concern]:
        concerns = []
        for worker in await self._roster.workers(scope, after=None, limit=1_000):
            if worker.alive or worker.host is None:
                # A program that polls may stop polling at any time.
                continue
            since = spoken((now - worker.last_sign_at).total_seconds())
            runs = f"; it was running {len(worker.running):,} jobs" if worker.running else ""
            message = f"worker {worker.name} gave its last sign of life {since} ago, without a good-bye{runs}"
            at, count = json_form.date(worker.last_sign_at), len(worker.running)
            details = {"worker": worker.name, "lastSignAt": at, "running": count}
            concerns.append(Concern(kind="worker", message=message, command=("workers", "--silent"), details=details))
        return concerns[:most]

    async def _skipping(self, now: datetime, scope: Scope, most: int) -> list[Concern]:
        concerns: list[Concern] = []
        after = ""
        while page := await self._schedules.store.page(after, _PAGE):
            own = [stored for stored in page if is_within(stored, scope)]
            concerns += [concern for stored in own if (concern := _skipped(stored, now)) is not None]
            after = page[-1].name
        return concerns[:most]

    async def _waiting(self, reason: str, scope: Scope, most: int) -> tuple[Job, ...]:
        query = JobQuery(waiting=reason, oldest_first=True, limit=most)
        return tuple((await self._listing.page(query, scope)).items)

    async def _doubts(self, scope: Scope, most: int) -> list[Concern]:
        concerns = []
        for job in await self._waiting("doubt", scope, most):
            step = job.wait.doubt if job.wait is not None and job.wait.doubt is not None else ""
            message = f"job {job.id} of type {job.type} is in doubt: did step {step} happen?"
            command = ("decide", job.id, step, "--happened")
            concerns.append(Concern(kind="doubt", message=message, command=command, details=_place(job, step=step)))
        return concerns

    async def _asking(self, scope: Scope, most: int) -> list[Concern]:
        concerns = []
        for job in await self._waiting("signal", scope, most):
            names = job.wait.signals if job.wait is not None and job.wait.signals else ()
            message = f"job {job.id} of type {job.type} waits for the signal {' or '.join(names)}"
            command = ("signal", job.id, *names[:1])
            concerns.append(
                Concern(kind="question", message=message, command=command, details=_place(job, signals=list(names)))
            )
        return concerns

    async def _tried(self, now: datetime, scope: Scope, most: int) -> list[Concern]:
        return [_trial(each) for each in await self._operations.tried(since=now - TRIED, limit=most, scope=scope)]


def _trial(operation: Operation) -> Concern:
    left = None if operation.matched is None else max(0, operation.matched - operation.done - operation.skipped)
    rest = "the others" if left is None else "the other job" if left == 1 else f"the other {left:,} jobs"
    tried = f"operation {operation.id} has tried {operation.done:,} of its jobs with success"
    message = f"{tried}, and waits to go on with {rest}"
    details = {"operation": operation.id, "tried": operation.done, "left": left}
    details["since"] = json_form.value(operation.end_at)
    return Concern(kind="operation", message=message, command=("operations", "resume", operation.id), details=details)


def _breaker(queue: str, state: Mapping[str, Any]) -> Concern:
    kind = f" of type {state['type']}" if state["type"] else ""
    message = f"a circuit breaker of queue {queue} is {state['state']} after {state['failures']:,} failures{kind}"
    details = {**state, "queue": queue}
    return Concern(kind="breaker", message=message, command=("queue", "resume", queue), details=details)


def _skipped(stored: StoredSchedule, now: datetime) -> Concern | None:
    if stored.schedule is None:
        message = f"schedule {stored.name} cannot be read: its document was changed by another tool"
        command = ("schedule", "delete", stored.name)
        return Concern(kind="schedule", message=message, command=command, details={"schedule": stored.name})
    skipped = stored.last_skipped
    if skipped is None or now - skipped.at > SKIPPED:
        return None
    at = json_form.date(skipped.at)
    return Concern(
        kind="schedule",
        message=f"schedule {stored.name} made no job at {at}: {skipped.reason}",
        command=("schedule", "show", stored.name),
        details={"schedule": stored.name, "at": at, "reason": skipped.reason, "queue": stored.schedule.job.queue},
    )


def _sentence(reason: Reason) -> str:
    holders = reason.details.get("holders")
    if not holders:
        return reason.message
    first = holders[0]
    return (
        f"{reason.message}, first {first['id']} of type {first['type']} on {first['worker']} since {first['startAt']}"
    )


def _place(job: Job, **more: Any) -> dict[str, Any]:
    return {"job": job.id, "queue": job.queue, "type": job.type, "since": json_form.date(_asked_at(job)), **more}


def _asked_at(job: Job) -> datetime:
    """Return the date since which a job waits for somebody."""
    wait = job.wait
    names = {*(wait.names if wait else ()), wait.doubt if wait else None}
    begun = [step.start_at for step in job.steps or () if step.name in names and step.start_at is not None]
    ended = [entry.end_at for entry in job.history if entry.end_at is not None]
    return max(begun or ended, default=job.insert_at)
