"""The `schedules` collection: which job is to be made when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseUnavailableError, JobQueueError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.schedules.schedule import Schedule, ScheduledJob, SkippedTick, StoredSchedule
from jobqueue.store.documents import documents
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FEW_ENTRIES, FIELD, GONE, MOST_ENTRIES, with_entry
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.insight.audit import AuditNote
    from jobqueue.domain.schedules.cron import Recurrence
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_THERE: Final[Document] = {"$nor": [GONE]}
_DEFINITION: Final = ("cron", "timezone", "every", "job", "missed", "paused")


class ScheduleStore:
    """Schedules as documents, one each: the definition, ``{incarnation, revision, createdAt, changedAt}`` and `nextAt`.

    Args:
        database: the connection.
        now: what is taken as the present; ``None`` for the server's time.
    """

    def __init__(self, database: Database, now: datetime | None = None) -> None:
        self.present = now
        self.collection = database.collection("schedules")
        self._jobs = database.collection("jobs")
        self._database = database
        self._outbox = AuditOutbox(database)

    @guarded
    async def now(self) -> datetime:
        """Return the present."""
        return self.present or await self._database.clock.ask()

    @guarded
    async def find(self, name: str) -> StoredSchedule | None:
        """Return a schedule, or ``None``."""
        found = await self.collection.find_one({"_id": name, **_THERE})
        return planned(found) if found else None

    @guarded
    async def page(self, after: str, limit: int) -> list[StoredSchedule]:
        """Return schedules by name, from the one that follows ``after`` on."""
        cursor = self.collection.find({"_id": {"$gt": after}, **_THERE}).sort("_id", 1).limit(limit)
        return [planned(one) async for one in cursor]

    @guarded
    async def due(self, now: datetime, most: int) -> list[StoredSchedule]:
        """Return schedules whose next tick has come, longest ago first."""
        cursor = self.collection.find({"nextAt": {"$lte": now}}).sort("nextAt", 1).limit(most)
        return [planned(one) async for one in cursor]

    @guarded
    async def seconds_to_next(self) -> float | None:
        """Return in how many seconds the next tick will come, or ``None``."""
        found = await self.collection.find_one({"nextAt": {"$gt": _EPOCH}}, {"nextAt": 1}, sort=[("nextAt", 1)])
        return None if found is None else float((found["nextAt"] - await self.now()).total_seconds())

    @guarded
    async def made(self, name: str, most: int) -> list[ScheduledJob]:
        """Return the last jobs that a schedule has made and that are still there, newest first."""
        cursor = self._jobs.find({"schedule": name}).sort([("insertAt", -1), ("_id", -1)]).limit(most)
        found = [documents.job(one) async for one in cursor]
        made = [
            ScheduledJob(id=job.id, queue=job.queue, at=job.scheduled_at or job.insert_at, state=job.state)
            for job in found
        ]
        return sorted(made, key=lambda one: one.at, reverse=True)

    @guarded
    async def swap(
        self, name: str, before: StoredSchedule | None, after: StoredSchedule | None, note: AuditNote
    ) -> bool:
        """Replace a schedule, and note who did it, if it still is what it was before.

        One update of one document, as for queues. A tick that comes meanwhile is no change: what the loop writes is not
        touched, unless the next tick is to be another one. A deleted schedule leaves a document without a definition
        until its entries are in the audit.

        Args:
            name: of the schedule.
            before: as `find` returned it; ``None`` creates it.
            after: ``None`` deletes it.
            note: for the audit.

        Raises:
            DatabaseUnavailableError: too many entries wait for the audit.
        """
        await self._outbox.try_to_drain(self.collection, name)
        entry = await entry_of(self._database.clock, ("schedule", name), note)
        guard = {"_id": name, **GONE} if before is None else _guard(before)
        try:
            done = await self.collection.update_one(
                guard | FEW_ENTRIES, _change(name, before, after, entry), upsert=before is None
            )
        except DuplicateKeyError:
            done = None
        if done is not None and (done.matched_count or done.upserted_id is not None):
            await self._outbox.try_to_drain(self.collection, name)
            return True
        if await self.collection.find_one(guard, {"_id": 1}) is not None:
            raise DatabaseUnavailableError(f"{MOST_ENTRIES} entries wait for the audit, which takes none now")
        return False

    @guarded
    async def advance(self, seen: StoredSchedule, next_at: datetime | None, skipped: SkippedTick | None) -> bool:
        """Go on to another tick if nobody has done so meanwhile, nor changed the schedule; say whether it was done."""
        changed: Document = {"nextAt": next_at}
        if skipped is not None:
            changed["lastSkipped"] = {"at": skipped.at, "reason": skipped.reason}
        guard = _guard(seen) | {"nextAt": seen.next_at}
        return bool((await self.collection.update_one(guard, {"$set": changed})).matched_count)


def _change(name: str, before: StoredSchedule | None, after: StoredSchedule | None, entry: Document) -> list[Document]:
    """Return the update that makes a schedule another one, or takes its definition away."""
    waiting = with_entry(entry)
    if after is None:
        return [{"$replaceWith": {"_id": "$_id", "gone": True, FIELD: waiting}}]
    written = document(after)
    if before is None:
        return [{"$replaceWith": {"$mergeObjects": [{"$literal": {"_id": name, **written}}, {FIELD: waiting}]}}]
    if after.next_at == before.next_at and _recurrence(after) == _recurrence(before):
        # The loop may have gone on meanwhile.
        del written["nextAt"]
    return [{"$set": {field: {"$literal": value} for field, value in written.items()} | {FIELD: waiting}}]


def document(one: StoredSchedule) -> Document:
    """Return the document of a schedule, without its name and what the loop has noted in it."""
    shown: Document = {}
    if one.schedule is not None:
        shown = one.schedule.wire() | {"job": documents.plain(one.schedule.job)}
    return shown | {
        "incarnation": one.incarnation,
        "revision": one.revision,
        "createdAt": one.created_at,
        "changedAt": one.changed_at,
        "nextAt": one.next_at,
    }


def planned(stored: Mapping[str, Any]) -> StoredSchedule:
    """Return the schedule of a document; if it cannot be understood, without its definition."""
    name = str(stored["_id"])
    revision = stored.get("revision")
    try:
        definition: Schedule | None = schedules.read(
            name, {field: stored[field] for field in _DEFINITION if field in stored}, _new_job
        )
    except (JobQueueError, TypeError, AttributeError, ValueError):
        definition = None
    return StoredSchedule(
        name=name,
        schedule=definition,
        incarnation=str(stored.get("incarnation")),
        revision=int(revision) if isinstance(revision, int | float) else 0,
        created_at=_date(stored.get("createdAt")) or _EPOCH,
        changed_at=_date(stored.get("changedAt")) or _EPOCH,
        next_at=_date(stored.get("nextAt")),
        last_skipped=_skipped(stored.get("lastSkipped")),
    )


def _guard(seen: StoredSchedule) -> Document:
    """Match a schedule whose definition is the one that was seen; a spoilt one, whatever it is now."""
    if seen.schedule is None:
        return {"_id": seen.name}
    return {"_id": seen.name, "incarnation": seen.incarnation, "revision": seen.revision}


def _new_job(given: Any, path: str) -> NewJob:
    del path
    return NewJob(**json_form.snake_children(given))


def _recurrence(one: StoredSchedule) -> Recurrence | None:
    return one.schedule.recurrence if one.schedule is not None else None


def _skipped(given: Any) -> SkippedTick | None:
    at = _date(given.get("at")) if isinstance(given, dict) else None
    return SkippedTick(at=at, reason=str(given.get("reason"))) if at else None


def _date(given: Any) -> datetime | None:
    return given if isinstance(given, datetime) else None
