"""The `schedules` collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import JobQueueError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.schedules.schedule import Declared, Schedule, ScheduledJob, SkippedTick, StoredSchedule
from jobqueue.store.documents import documents
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FEW_ENTRIES, FIELD, GONE, with_entry
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.odd_values import date_or_none, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.insight.audit import AuditNote
    from jobqueue.domain.schedules.cron import Recurrence
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_THERE: Final[Document] = {"$nor": [GONE]}
_DEFINITION: Final = ("cron", "timezone", "every", "job", "missed", "paused")


class ScheduleStore:
    """Schedules as documents, one each: the definition, ``{incarnation, revision, createdAt, changedAt}`` and `nextAt`.

    One that code declares also has ``declared``: ``{by, at, definition, missingSince}``.

    Args:
        database: the connection.
        now: the present; ``None`` for the server's time.
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
        document = await self.collection.find_one({"_id": name, **_THERE})
        return planned(document) if document else None

    @guarded
    async def page(self, after: str, limit: int) -> list[StoredSchedule]:
        """Return schedules by name, beginning with the first name after ``after``."""
        cursor = self.collection.find({"_id": {"$gt": after}, **_THERE}).sort("_id", 1).limit(limit)
        return [planned(document) async for document in cursor]

    @guarded
    async def declared(self, after: str, limit: int) -> list[StoredSchedule]:
        """Return schedules that code has declared, by name, beginning with the first name after ``after``."""
        query = {"_id": {"$gt": after}, "declared.by": {"$type": "string"}, **_THERE}
        return [planned(document) async for document in self.collection.find(query).sort("_id", 1).limit(limit)]

    @guarded
    async def due(self, now: datetime, most: int) -> list[StoredSchedule]:
        """Return schedules whose next tick has come, longest ago first."""
        cursor = self.collection.find({"nextAt": {"$lte": now}}).sort("nextAt", 1).limit(most)
        return [planned(document) async for document in cursor]

    @guarded
    async def seconds_to_next(self) -> float | None:
        """Return the seconds until the next tick, or ``None``."""
        due = await self.collection.find_one({"nextAt": {"$gt": EPOCH}}, {"nextAt": 1}, sort=[("nextAt", 1)])
        return None if due is None else float((due["nextAt"] - await self.now()).total_seconds())

    @guarded
    async def made(self, name: str, most: int) -> list[ScheduledJob]:
        """Return the last jobs that a schedule has made and that still exist, newest first."""
        cursor = self._jobs.find({"schedule": name}).sort([("insertAt", -1), ("_id", -1)]).limit(most)
        jobs = [documents.job(document) async for document in cursor]
        made = [
            ScheduledJob(id=job.id, queue=job.queue, at=job.scheduled_at or job.insert_at, state=job.state)
            for job in jobs
        ]
        return sorted(made, key=lambda job: job.at, reverse=True)

    @guarded
    async def swap(
        self, name: str, before: StoredSchedule | None, after: StoredSchedule | None, note: AuditNote
    ) -> bool:
        """Replace a schedule, unless it has changed meanwhile, with an entry for the audit.

        One update of one document, as for queues. A tick that comes meanwhile is no change: the update leaves the
        fields of the loop alone, unless the next tick is to be another one. A deleted schedule leaves a document
        without a definition until its entries are in the audit.

        Args:
            name: of the schedule.
            before: as `find` returned it; ``None`` creates it.
            after: ``None`` deletes it.
            note: for the audit.

        Raises:
            DatabaseUnavailableError: too many entries wait for the audit.
        """
        entry = await entry_of(self._database.clock, ("schedule", name), note)
        guard = {"_id": name, **GONE} if before is None else _guard(before)
        update = _change(name, before, after, entry)
        return await self._outbox.swap(self.collection, guard, FEW_ENTRIES, update, upsert=before is None)

    @guarded
    async def advance(self, seen: StoredSchedule, next_at: datetime | None, skipped: SkippedTick | None) -> bool:
        """Set the next tick of a schedule, unless the schedule or its tick has changed; tell whether it was done."""
        changed: Document = {"nextAt": next_at}
        if skipped is not None:
            changed["lastSkipped"] = {"at": skipped.at, "reason": skipped.reason}
        guard = _guard(seen) | {"nextAt": seen.next_at}
        return bool((await self.collection.update_one(guard, {"$set": changed})).matched_count)


def _change(name: str, before: StoredSchedule | None, after: StoredSchedule | None, entry: Document) -> list[Document]:
    """Return the update that replaces or removes the definition of a schedule."""
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


def document(stored: StoredSchedule) -> Document:
    """Return the document of a schedule, without its name and the fields of the loop."""
    definition: Document = {}
    if stored.schedule is not None:
        definition = _definition(stored.schedule)
    if stored.declared is not None and stored.declared.schedule is not None:
        definition["declared"] = {
            "by": stored.declared.by,
            "at": stored.declared.at,
            "definition": _definition(stored.declared.schedule),
            "missingSince": stored.declared.missing_since,
        }
    return definition | {
        "incarnation": stored.incarnation,
        "revision": stored.revision,
        "createdAt": stored.created_at,
        "changedAt": stored.changed_at,
        "nextAt": stored.next_at,
    }


def planned(stored: Mapping[str, Any]) -> StoredSchedule:
    """Return the schedule of a document, without its definition if that cannot be understood."""
    name = str(stored["_id"])
    revision = stored.get("revision")
    return StoredSchedule(
        name=name,
        schedule=_schedule(name, stored),
        incarnation=str(stored.get("incarnation")),
        revision=int(revision) if isinstance(revision, int | float) else 0,
        created_at=date_or_none(stored.get("createdAt")) or EPOCH,
        changed_at=date_or_none(stored.get("changedAt")) or EPOCH,
        next_at=date_or_none(stored.get("nextAt")),
        last_skipped=_skipped(mapping(stored.get("lastSkipped"))),
        declared=_declared(name, mapping(stored.get("declared"))),
    )


def _definition(schedule: Schedule) -> Document:
    return schedule.wire() | {"job": documents.plain(schedule.job)}


def _schedule(name: str, stored: Mapping[str, Any]) -> Schedule | None:
    """Return the definition in a document, or ``None`` if it cannot be understood."""
    try:
        return schedules.read(name, {field: stored[field] for field in _DEFINITION if field in stored}, _new_job)
    except (JobQueueError, TypeError, AttributeError, ValueError):
        return None


def _declared(name: str, stored: dict[str, Any]) -> Declared | None:
    by = stored.get("by")
    if not isinstance(by, str):
        return None
    return Declared(
        by=by,
        at=date_or_none(stored.get("at")) or EPOCH,
        schedule=_schedule(name, mapping(stored.get("definition"))),
        missing_since=date_or_none(stored.get("missingSince")),
    )


def _guard(seen: StoredSchedule) -> Document:
    """Match a schedule with the same definition; a spoilt schedule in any case."""
    if seen.schedule is None:
        return {"_id": seen.name}
    return {"_id": seen.name, "incarnation": seen.incarnation, "revision": seen.revision}


def _new_job(job: Any, _path: str) -> NewJob:
    return NewJob(**json_form.snake_children(job))


def _recurrence(stored: StoredSchedule) -> Recurrence | None:
    return stored.schedule.recurrence if stored.schedule is not None else None


def _skipped(tick: dict[str, Any]) -> SkippedTick | None:
    at = date_or_none(tick.get("at"))
    return SkippedTick(at=at, reason=str(tick.get("reason"))) if at else None
