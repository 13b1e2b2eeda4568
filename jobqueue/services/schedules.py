"""Schedules: defining them, and adding their jobs, one a tick over all processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain import schedule as schedules
from jobqueue.domain import wire
from jobqueue.domain.errors import (
    ChangedMeanwhileError,
    DatabaseError,
    InvalidInputError,
    KeyConflictError,
    NotFoundError,
)
from jobqueue.domain.query import JobQuery
from jobqueue.domain.schedule import Schedule
from jobqueue.domain.state import State
from jobqueue.journal import get_logger
from jobqueue.services.queues import somebody
from jobqueue.services.wake import Wake
from jobqueue.store.database import new_id
from jobqueue.store.documents import derived_id, scheduled

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobqueue.domain.audit import Actor
    from jobqueue.domain.schedule import Definition
    from jobqueue.services.admin import Admin
    from jobqueue.services.config import QueueConfigs
    from jobqueue.services.wake import Wakeups
    from jobqueue.store.jobs import JobStore
    from jobqueue.store.schedules import ScheduleStore

log = get_logger(__name__)
SCHEDULE_SECONDS: Final = 2.0
"""Between two looks, should nothing be due before."""
_TRIES: Final = 20
_NEXT_RUNS: Final = 5
_LAST_RUNS: Final = 10
Tags = frozenset[str] | None


class Schedules:
    """Reads and changes schedules; every change is compared and swapped, and noted with who made it."""

    def __init__(self, store: ScheduleStore, admin: Admin, wakeups: Wakeups) -> None:
        self._store = store
        self._admin = admin
        self._wakeups = wakeups

    async def show(self, name: str) -> tuple[dict[str, Any], str]:
        """Return a schedule with its next and last runs, as JSON, and its tag.

        Raises:
            NotFoundError: there is none of this name.
        """
        found = await self._get(name)
        query = JobQuery(schedule=name, limit=_LAST_RUNS)
        runs = [
            {"id": job.id, "at": wire.value(job.scheduled_at), "state": job.state.value}
            for job in (await self._admin.page(query)).items
        ]
        return _shown(found) | {"nextRuns": _next_runs(found), "lastRuns": runs}, tag(found)

    async def page(self, *, after: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """Return schedules by name, those after one, as JSON."""
        return [_shown(one) for one in await self._store.page(after=after, limit=limit)]

    async def put(self, name: str, definition: Definition, *, by: Actor | None = None, if_match: Tags = None) -> None:
        """Define a schedule; the same definition again changes nothing.

        Raises:
            ChangedMeanwhileError: it is not one that the caller wants to change.
        """
        await self._change(name, "put", lambda _old: definition, by, if_match)

    async def set_paused(self, name: str, *, paused: bool, by: Actor | None = None, if_match: Tags = None) -> None:
        """Pause or resume a schedule; ticks while it is paused are not made up for.

        Raises:
            NotFoundError: there is none of this name.
        """

        def want(old: Schedule | None) -> Definition:
            if old is None:
                raise NotFoundError("schedule", name)
            return schedules.with_paused(old.definition, paused=paused)

        await self._change(name, "pause" if paused else "resume", want, by, if_match)

    async def delete(self, name: str, *, by: Actor | None = None, if_match: Tags = None) -> None:
        """Delete a schedule; its jobs are kept.

        Raises:
            NotFoundError: there is none of this name.
            ChangedMeanwhileError: it is not one that the caller wants to delete.
        """
        for _ in range(_TRIES):
            old = await self._get(name)
            _check(name, old, if_match)
            if await self._store.swap(old, None, action="delete", by=by or somebody()):
                return
        raise ChangedMeanwhileError("schedule", name)

    async def _get(self, name: str) -> Schedule:
        found = await self._store.find(name)
        if found is None:
            raise NotFoundError("schedule", name)
        return found

    async def _change(
        self,
        name: str,
        action: str,
        want: Callable[[Schedule | None], Definition],
        by: Actor | None,
        if_match: Tags,
    ) -> None:
        for _ in range(_TRIES):
            old = await self._store.find(name)
            _check(name, old, if_match)
            wanted = want(old)
            if old is not None and old.definition == wanted:
                return
            now = await self._store.time()
            if old is None:
                new = Schedule(
                    name=name,
                    definition=wanted,
                    incarnation=new_id(),
                    anchor=now,
                    next_at=None if wanted.paused else wanted.next_after(now, now),
                    changed_at=now,
                )
            else:
                next_at = None if wanted.paused else schedules.resumed(old, wanted, now)
                new = replace(old, definition=wanted, next_at=next_at, changed_at=now)
            if await self._store.swap(old, new, action=action, by=by or somebody()):
                self._wakeups.tell(Wake(kind="schedule"))
                return
        raise ChangedMeanwhileError("schedule", name)


class Scheduler:
    """Adds the jobs of schedules when their time has come.

    A job's id follows from its schedule and its tick, so that any number of processes may do this: it exists once.
    """

    def __init__(self, store: ScheduleStore, jobs: JobStore, configs: QueueConfigs, wakeups: Wakeups) -> None:
        self._store = store
        self._jobs = jobs
        self._configs = configs
        self._wakeups = wakeups

    async def run_once(self) -> float | None:
        """Do it for all ticks that have come; return in how many seconds the next one is due."""
        now = await self._store.time()
        for schedule in await self._store.due(now):
            try:
                await self._tick(schedule, now)
            except DatabaseError:
                raise
            except Exception:
                log.exception("a schedule cannot be kept", schedule=schedule.name)
        left = await self._store.seconds_to_next(await self._store.time())
        return None if left is None else max(left, 0.0)

    async def _tick(self, schedule: Schedule, now: datetime) -> None:
        due = schedules.due(schedule, now)
        skipped = None
        for tick in due.ticks:
            try:
                await self._add(schedule, tick)
            except (KeyConflictError, InvalidInputError) as error:
                log.warning("tick skipped", schedule=schedule.name, tick=wire.date(tick), reason=str(error))
                skipped = {"at": tick, "reason": str(error)}
        await self._store.advance(schedule, due.next_at, skipped)

    async def _add(self, schedule: Schedule, tick: datetime) -> None:
        new = schedule.definition.job
        config = await self._configs.fresh(new.queue)
        made = await self._jobs.insert(
            config.fill(new),
            job_id=derived_id(tick, f"schedule:{schedule.incarnation}:{tick.isoformat()}"),
            limit_key=config.limit_key(new.data, new.meta) if config.grouped else None,
            extra=scheduled(schedule.name, tick),
        )
        kind = "ready" if made.state is State.PENDING else "delayed"
        self._wakeups.tell(Wake(kind=kind, queue=made.queue, job_id=made.id, priority=made.priority))


def tag(schedule: Schedule) -> str:
    """Return what tells one definition of a schedule from another, for ``ETag`` and ``If-Match`` (RFC 9110)."""
    told = json.dumps([schedule.incarnation, schedule.definition.wire()], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _check(name: str, old: Schedule | None, if_match: Tags) -> None:
    if if_match is not None and (old is None or tag(old) not in if_match):
        raise ChangedMeanwhileError("schedule", name)


def _next_runs(schedule: Schedule) -> list[str]:
    if schedule.next_at is None:
        return []
    later = schedules.next_ticks(schedule.definition, schedule.next_at, schedule.anchor, _NEXT_RUNS - 1)
    return [wire.date(one) for one in (schedule.next_at, *later)]


def _shown(schedule: Schedule) -> dict[str, Any]:
    return {
        "name": schedule.name,
        **schedule.definition.wire(),
        "nextAt": wire.value(schedule.next_at),
        "changedAt": wire.date(schedule.changed_at),
        "lastSkipped": wire.value(dict(schedule.skipped)) if schedule.skipped else None,
    }
