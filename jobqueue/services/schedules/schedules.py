"""Define schedules, and create their jobs when these are due."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.access.preconditions import NONE, Preconditions
from jobqueue.domain.errors import (
    ChangedMeanwhileError,
    DatabaseError,
    ForbiddenError,
    InvalidInputError,
    KeyConflictError,
    NotFoundError,
    TooLargeError,
)
from jobqueue.domain.insight.audit import AuditNote
from jobqueue.domain.jobs import json_form
from jobqueue.domain.schedules.declaration import digest, edited, merged
from jobqueue.domain.schedules.schedule import LATEST, Declared, Schedule, SkippedTick, StoredSchedule, due
from jobqueue.journal import get_logger
from jobqueue.services.queues.queues import somebody
from jobqueue.store.documents.documents import tick_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.schedules.declaration import Declaration
    from jobqueue.services.jobs.producer import Producer
    from jobqueue.store.schedules.schedules import ScheduleStore

log = get_logger(__name__)
_TRIES: Final = 20
_RUNS: Final = 10
_AT_ONCE: Final = 200
_TOGETHER: Final = 100
_STALE: Final = timedelta(seconds=60)
"""Age at which a read schedule creates no more jobs: a job of a tick may have been created and deleted since."""


class Schedules:
    """Reads and changes schedules; each change is a compare-and-swap and has an entry in the audit.

    Args:
        store: of the schedules.
        admit: makes sure that a worker takes the data of a job, as `QueueConfigs.admit`.
    """

    def __init__(self, store: ScheduleStore, admit: Callable[[NewJob, str], Awaitable[Any]] | None = None) -> None:
        self.store = store
        self._admit = admit

    async def get(self, name: str) -> StoredSchedule:
        """Return a schedule.

        Raises:
            NotFoundError: there is no such schedule, or its document was spoilt by another tool.
        """
        stored = await self.store.find(name)
        if stored is None or stored.schedule is None:
            raise NotFoundError("schedule" if stored is None else "readable schedule", name)
        return stored

    async def view(self, stored: StoredSchedule, scope: Scope = EVERYTHING) -> dict[str, Any]:
        """Return a schedule as JSON, with its next runs, and its last runs within a scope."""
        last = [job for job in await self.store.made(stored.name, _RUNS) if scope.has_queue(job.queue)]
        schedule, skipped = stored.schedule, stored.last_skipped
        ticks = [] if schedule is None or stored.next_at is None else [stored.next_at]
        if schedule is not None and ticks:
            ticks += schedule.upcoming(ticks[0], stored.created_at, count=4)
        return {
            "name": stored.name,
            **(schedule.wire() if schedule else {}),
            "nextAt": json_form.date(stored.next_at) if stored.next_at else None,
            "nextRuns": [json_form.date(tick) for tick in ticks],
            "lastRuns": [{"id": job.id, "at": json_form.date(job.at), "state": job.state.value} for job in last],
            "lastSkipped": {"at": json_form.date(skipped.at), "reason": skipped.reason} if skipped else None,
            "createdAt": json_form.date(stored.created_at),
            "changedAt": json_form.date(stored.changed_at),
            "declared": _declared(stored),
        }

    async def put(
        self, schedule: Schedule, *, by: Actor | None = None, only: Preconditions = NONE, scope: Scope = EVERYTHING
    ) -> tuple[StoredSchedule, bool]:
        """Create or replace a schedule; the same definition again changes nothing.

        The next tick is counted from now on if the definition has other times, or if the schedule was paused. The job
        of a tick that has just come is made as before.

        Args:
            schedule: the definition.
            by: for the audit.
            only: conditions on the `StoredSchedule.tag` of the present schedule.
            scope: replace only a schedule that makes jobs in this scope.

        Returns:
            The schedule, and true if the schedule is new.

        Raises:
            ChangedMeanwhileError: a condition does not hold.
            ForbiddenError: a schedule of this name is outside of the scope.
            InvalidInputError: no worker takes the data of its jobs, and their queue is to refuse such jobs.
        """
        await self.check(schedule)

        def want(before: StoredSchedule | None, now: datetime) -> StoredSchedule:
            _check_scope(before, scope)
            return _planned(schedule, before, now)

        before, after = await self._change(schedule.name, "put", want, by, only)
        if after is None:
            raise ChangedMeanwhileError("schedule", schedule.name)
        return after, before is None

    async def would(self, schedule: Schedule, *, only: Preconditions = NONE, scope: Scope = EVERYTHING) -> None:
        """Make sure that `put` would take a schedule, and change nothing.

        Raises:
            ChangedMeanwhileError, ForbiddenError, InvalidInputError: as `put`.
        """
        await self.check(schedule)
        before = await self.store.find(schedule.name)
        _check_scope(before, scope)
        only.check("schedule", schedule.name, before.tag if before else "", exists=before is not None)

    async def check(self, schedule: Schedule) -> None:
        """Make sure that the jobs of a schedule would be taken.

        Raises:
            InvalidInputError: no worker takes their data, and their queue is to refuse such jobs.
        """
        if self._admit is not None:
            await self._admit(schedule.job, "job")

    async def set_paused(
        self, name: str, *, paused: bool, by: Actor | None = None, only: Preconditions = NONE, scope: Scope = EVERYTHING
    ) -> StoredSchedule:
        """Pause or resume a schedule; ticks during the pause are not made up for.

        Raises:
            NotFoundError: there is no such schedule.
            ChangedMeanwhileError: a condition does not hold.
        """

        def want(before: StoredSchedule | None, now: datetime) -> StoredSchedule:
            if before is None or before.schedule is None or not is_within(before, scope):
                raise NotFoundError("schedule", name)
            return _planned(replace(before.schedule, paused=paused), before, now)

        _, after = await self._change(name, "pause" if paused else "resume", want, by, only)
        if after is None:
            raise NotFoundError("schedule", name)
        return after

    async def declare(
        self, declaration: Declaration, *, by: Actor, is_held: Callable[[Declared], bool]
    ) -> StoredSchedule:
        """Create a schedule of the code, or change in it what has changed in the code and no person has changed.

        Args:
            declaration: in the code of this process.
            by: for the audit.
            is_held: returns true if a schedule is to stay as it was declared last.

        Returns:
            The schedule as it is now: with another declaration, if that was to stay.

        Raises:
            InvalidInputError: no worker takes the data of its jobs, and their queue is to refuse such jobs.
        """
        await self.check(declaration.schedule)
        _, after = await self._change(
            declaration.name, "declare", lambda before, now: _with_declaration(declaration, before, now, is_held), by
        )
        if after is None:
            raise ChangedMeanwhileError("schedule", declaration.name)
        return after

    async def miss(self, stored: StoredSchedule, *, by: Actor) -> None:
        """Note that the code does not declare a schedule any more, unless the schedule has changed meanwhile."""
        if stored.declared is None or stored.declared.schedule is None or stored.declared.missing_since is not None:
            return
        missing = replace(stored.declared, missing_since=await self.store.now())
        note = AuditNote(action="undeclare", by=by, before=_shown(stored), after=_shown(stored))
        after = replace(stored, revision=stored.revision + 1, declared=missing)
        await self.store.swap(stored.name, stored, after, note)

    async def delete(
        self, name: str, *, by: Actor | None = None, only: Preconditions = NONE, scope: Scope = EVERYTHING
    ) -> None:
        """Delete a schedule and keep its jobs.

        Raises:
            NotFoundError: there is no such schedule.
            ChangedMeanwhileError: a condition does not hold.
        """

        def want(before: StoredSchedule | None, now: datetime) -> None:
            del now
            if before is None or not is_within(before, scope):
                raise NotFoundError("schedule", name)

        await self._change(name, "delete", want, by, only)

    async def _change(
        self,
        name: str,
        action: str,
        want: Callable[[StoredSchedule | None, datetime], StoredSchedule | None],
        by: Actor | None,
        only: Preconditions = NONE,
    ) -> tuple[StoredSchedule | None, StoredSchedule | None]:
        """Change a schedule; return the schedule before and after."""
        for _ in range(_TRIES):
            before = await self.store.find(name)
            after = want(before, await self.store.now())
            only.check("schedule", name, before.tag if before else "", exists=before is not None)
            if after is not None and before is not None and after is before:
                return before, before
            note = AuditNote(action=action, by=by or somebody(), before=_shown(before), after=_shown(after))
            if await self.store.swap(name, before, after, note):
                return before, after
        raise ChangedMeanwhileError("schedule", name)


def is_within(stored: StoredSchedule, scope: Scope) -> bool:
    """Return true if a schedule makes jobs within a scope; an unreadable one is only in the scope of everything."""
    job = stored.schedule.job if stored.schedule is not None else None
    return scope.is_everything or (job is not None and scope.holds(job))


def _check_scope(before: StoredSchedule | None, scope: Scope) -> None:
    """Refuse to replace a schedule outside of a scope."""
    if before is not None and not is_within(before, scope):
        raise ForbiddenError("a schedule of this name belongs to others")


class Scheduler:
    """Creates the jobs of schedules, one for each tick, in any number of processes at once.

    The id of a job follows from its tick, so that each job exists once. After the job the schedule advances to its next
    tick. If a process is killed in between, another process repeats both.
    """

    def __init__(self, store: ScheduleStore, producer: Producer) -> None:
        self._store = store
        self._producer = producer
        self._spoilt: set[str] = set()

    async def run_once(self) -> float | None:
        """Create due jobs; return the seconds until the next tick."""
        now = await self._store.now()
        stuck = False
        planned = await self._store.due(now, _AT_ONCE)
        self._spoilt &= {stored.name for stored in planned}
        for stored in planned:
            try:
                stuck = not await self._run(stored, now) or stuck
            except DatabaseError:
                raise
            except Exception:
                log.exception("schedule failed", schedule=stored.name)
                stuck = True
        # A schedule that fails stays due.
        return None if stuck else await self._store.seconds_to_next()

    async def _run(self, stored: StoredSchedule, now: datetime) -> bool:
        """Create the due jobs of a schedule; return false if the schedule cannot be read."""
        schedule, next_at = stored.schedule, stored.next_at
        if schedule is None or next_at is None:
            if stored.name not in self._spoilt:
                log.error("schedule unreadable", schedule=stored.name, hint="delete it, or put it anew")
            self._spoilt.add(stored.name)
            return False
        todo = due(schedule, next_at, now, stored.created_at)
        skipped = SkippedTick(at=todo.missed, reason="it was missed: no process was there") if todo.missed else None
        for start in range(0, len(todo.ticks), _TOGETHER):
            if await self._store.now() - now > _STALE:
                todo = replace(todo, next_at=todo.ticks[start])
                break
            part = todo.ticks[start : start + _TOGETHER]
            results = await asyncio.gather(*(self._make(stored, schedule, tick) for tick in part))
            skipped = next((skip for skip in reversed(results) if skip), skipped)
        await self._store.advance(stored, todo.next_at, skipped)
        return True

    async def _make(self, stored: StoredSchedule, schedule: Schedule, tick: datetime) -> SkippedTick | None:
        """Create the job of a tick, unless the job exists; return the skipped tick if the job cannot be created."""
        job_id = tick_id(stored.incarnation, tick)
        try:
            await self._producer.add(schedule.job, job_id=job_id, tick=(schedule.name, tick))
        except KeyConflictError as conflict:
            if conflict.job_id == job_id:
                return None
            # The living job with this key stands for the new job: that is the purpose of a key.
            return self._skip(schedule, tick, str(conflict))
        except (TooLargeError, InvalidInputError) as error:
            # A job that the new job depends on may have been deleted.
            return self._skip(schedule, tick, str(error))
        return None

    def _skip(self, schedule: Schedule, tick: datetime, reason: str) -> SkippedTick:
        log.warning("tick skipped", schedule=schedule.name, tick=json_form.date(tick), reason=reason)
        return SkippedTick(at=tick, reason=reason)


def _planned(schedule: Schedule, before: StoredSchedule | None, now: datetime) -> StoredSchedule:
    """Return the schedule to store; the present schedule if nothing changes."""
    old = before.schedule if before is not None else None
    if before is None or old is None:
        return StoredSchedule(
            name=schedule.name,
            schedule=schedule,
            incarnation=secrets.token_hex(8),
            revision=1,
            created_at=now,
            changed_at=now,
            next_at=None if schedule.paused else schedule.next_after(now, now),
        )
    if _text(old) == _text(schedule):
        return before
    next_at = before.next_at
    if schedule.paused:
        next_at = None
    elif old.paused or (old.recurrence != schedule.recurrence and not _is_due(next_at, now)):
        next_at = schedule.next_after(now, before.created_at)
    # Callers of this queue must not see the reason for which a job was skipped in another queue.
    skipped = before.last_skipped if old.job.queue == schedule.job.queue else None
    return replace(
        before, schedule=schedule, revision=before.revision + 1, changed_at=now, next_at=next_at, last_skipped=skipped
    )


def _is_due(next_at: datetime | None, now: datetime) -> bool:
    """Return true if the job of a tick is about to be made: a change of times does not lose it."""
    return next_at is not None and now - LATEST <= next_at <= now


def _with_declaration(
    code: Declaration, before: StoredSchedule | None, now: datetime, is_held: Callable[[Declared], bool]
) -> StoredSchedule:
    """Return the schedule to store for a declaration; the present schedule if nothing changes."""
    new = Declared(by=code.by, at=now, schedule=code.schedule)
    if before is None:
        return replace(_planned(code.schedule, None, now), declared=new)
    old = before.declared
    if before.schedule is None:
        # Another tool has spoilt it; a person decides.
        return before
    if old is not None and is_held(old):
        return before
    after = _planned(merged(before.schedule, old, code.schedule), before, now)
    if old is not None and old.schedule is not None and digest(old.schedule) == code.digest:
        new = replace(new, at=old.at)
        if after is before and old.by == code.by and old.missing_since is None:
            return before
    return replace(after, declared=new, revision=before.revision + 1)


def _declared(stored: StoredSchedule) -> dict[str, Any] | None:
    declared, schedule = stored.declared, stored.schedule
    if declared is None:
        return None
    missing = declared.missing_since
    return {
        "by": declared.by,
        "at": json_form.date(declared.at),
        "edited": list(edited(schedule, declared)) if schedule else [],
        "missingSince": json_form.date(missing) if missing else None,
    }


def _text(schedule: Schedule) -> str:
    # In Python 1 equals True; in the data of a job they differ.
    return json.dumps(schedule.wire(), sort_keys=True)


def _shown(stored: StoredSchedule | None) -> dict[str, Any] | None:
    return None if stored is None or stored.schedule is None else stored.schedule.wire()
