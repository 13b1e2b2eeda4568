"""Schedules: defining them, and making their jobs when the time has come."""

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
from jobqueue.domain.schedules.schedule import Schedule, SkippedTick, StoredSchedule, due
from jobqueue.journal import get_logger
from jobqueue.services.queues.queues import somebody
from jobqueue.store.documents.documents import tick_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.services.jobs.producer import Producer
    from jobqueue.store.schedules.schedules import ScheduleStore

log = get_logger(__name__)
SCHEDULE_SECONDS: Final = 1.0
"""Longest time between two looks at what is due: as long may a change made by another process go unseen."""
_TRIES: Final = 20
_RUNS: Final = 10
_AT_ONCE: Final = 200
_TOGETHER: Final = 100
_STALE: Final = timedelta(seconds=60)
"""What was read longer ago decides nothing: a job that was made for it may have been deleted and forgotten since."""


class Schedules:
    """Reads and changes schedules; every change is compared and swapped, and noted in the audit with who made it."""

    def __init__(self, store: ScheduleStore) -> None:
        self._store = store

    async def get(self, name: str) -> StoredSchedule:
        """Return a schedule.

        Raises:
            NotFoundError: there is none, or what is there has been spoilt by hand.
        """
        stored = await self._store.find(name)
        if stored is None or stored.schedule is None:
            raise NotFoundError("schedule" if stored is None else "readable schedule", name)
        return stored

    async def page(self, after: str, limit: int) -> list[StoredSchedule]:
        """Return schedules by name, from the one that follows ``after`` on."""
        return await self._store.page(after, limit)

    async def view(self, stored: StoredSchedule, scope: Scope = EVERYTHING) -> dict[str, Any]:
        """Return a schedule as JSON, with its next runs and those of its last ones that are within a scope."""
        last = [job for job in await self._store.made(stored.name, _RUNS) if scope.has_queue(job.queue)]
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
        }

    async def put(
        self,
        schedule: Schedule,
        *,
        by: Actor | None = None,
        only: Preconditions = NONE,
        scope: Scope = EVERYTHING,
    ) -> tuple[StoredSchedule, bool]:
        """Create or replace a schedule; the same definition again changes nothing.

        The next tick is counted from now on if the definition says other times than before, or if it was paused.

        Args:
            schedule: the definition.
            by: who does it.
            only: conditions on the `StoredSchedule.tag` of the present one.
            scope: replace only one that makes jobs in it.

        Returns:
            The schedule, and whether it is a new one.

        Raises:
            ChangedMeanwhileError: a condition does not hold.
            ForbiddenError: one of this name is outside of the scope.
        """

        def want(before: StoredSchedule | None, now: datetime) -> StoredSchedule:
            if before is not None and not is_within(before, scope):
                raise ForbiddenError("a schedule of this name belongs to others")
            return _planned(schedule, before, now)

        before, after = await self._change(schedule.name, "put", want, by, only)
        if after is None:
            raise ChangedMeanwhileError("schedule", schedule.name)
        return after, before is None

    async def set_paused(
        self,
        name: str,
        *,
        paused: bool,
        by: Actor | None = None,
        only: Preconditions = NONE,
        scope: Scope = EVERYTHING,
    ) -> StoredSchedule:
        """Pause or resume a schedule. What it would have made meanwhile is not made up for.

        Raises:
            NotFoundError: there is none.
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

    async def delete(
        self,
        name: str,
        *,
        by: Actor | None = None,
        only: Preconditions = NONE,
        scope: Scope = EVERYTHING,
    ) -> None:
        """Take away a schedule; the jobs that it has made are kept.

        Raises:
            NotFoundError: there is none.
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
        only: Preconditions,
    ) -> tuple[StoredSchedule | None, StoredSchedule | None]:
        """Change a schedule; return what it was and what it is."""
        for _ in range(_TRIES):
            before = await self._store.find(name)
            after = want(before, await self._store.now())
            only.check("schedule", name, before.tag if before else "", exists=before is not None)
            if after is not None and before is not None and after is before:
                return before, before
            note = AuditNote(action=action, by=by or somebody(), before=_shown(before), after=_shown(after))
            if await self._store.swap(name, before, after, note):
                return before, after
        raise ChangedMeanwhileError("schedule", name)


def is_within(stored: StoredSchedule, scope: Scope) -> bool:
    """Tell whether a schedule makes jobs within a scope; one that cannot be read is in none but that of everything."""
    job = stored.schedule.job if stored.schedule is not None else None
    return scope.is_everything or (job is not None and scope.holds(job))


class Scheduler:
    """Makes the jobs of schedules: any number of processes at once, and one job for each tick.

    The id of a job follows from the tick, so that it exists once, whoever makes it and however often. Whoever has made
    it goes on to the next tick, if nobody else has; whoever is killed in between is repeated by others.
    """

    def __init__(self, store: ScheduleStore, producer: Producer) -> None:
        self._store = store
        self._producer = producer
        self._spoilt: set[str] = set()

    async def run_once(self) -> float | None:
        """Make what is due; return in how many seconds the next tick will come."""
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
                log.exception("a schedule cannot be followed", schedule=stored.name)
                stuck = True
        # One that cannot be followed is due for ever.
        return None if stuck else await self._store.seconds_to_next()

    async def _run(self, stored: StoredSchedule, now: datetime) -> bool:
        """Make what is due for a schedule, as far as it can be understood; say whether it can."""
        schedule, next_at = stored.schedule, stored.next_at
        if schedule is None or next_at is None:
            if stored.name not in self._spoilt:
                log.error("a schedule cannot be understood: delete it, or put it anew", schedule=stored.name)
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
        """Make the job for a tick, unless it is there already; return why if it cannot be made."""
        job_id = tick_id(stored.incarnation, tick)
        try:
            await self._producer.add(schedule.job, job_id=job_id, tick=(schedule.name, tick))
        except KeyConflictError as conflict:
            if conflict.job_id == job_id:
                return None
            # The living job with this key stands for it: that is what a key is for.
            return self._skip(schedule, tick, str(conflict))
        except (TooLargeError, InvalidInputError) as error:
            # The latter where a job that it depends on has been deleted.
            return self._skip(schedule, tick, str(error))
        return None

    def _skip(self, schedule: Schedule, tick: datetime, reason: str) -> SkippedTick:
        log.warning("no job made for a tick", schedule=schedule.name, tick=json_form.date(tick), reason=reason)
        return SkippedTick(at=tick, reason=reason)


def _planned(schedule: Schedule, before: StoredSchedule | None, now: datetime) -> StoredSchedule:
    """Return a schedule as it is to be stored; the same one if nothing changes."""
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
    elif old.paused or old.recurrence != schedule.recurrence:
        next_at = schedule.next_after(now, before.created_at)
    # What kept a job out of another queue is none of the business of who sees this one.
    skipped = before.last_skipped if old.job.queue == schedule.job.queue else None
    return replace(
        before,
        schedule=schedule,
        revision=before.revision + 1,
        changed_at=now,
        next_at=next_at,
        last_skipped=skipped,
    )


def _text(schedule: Schedule) -> str:
    # In Python 1 equals True: in what a job is given, it does not.
    return json.dumps(schedule.wire(), sort_keys=True)


def _shown(stored: StoredSchedule | None) -> dict[str, Any] | None:
    return None if stored is None or stored.schedule is None else stored.schedule.wire()
