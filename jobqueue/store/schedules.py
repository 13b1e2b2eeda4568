"""The `schedules` collection."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from jobqueue.domain import schedule as schedules
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.job import NewJob
from jobqueue.domain.schedule import Schedule
from jobqueue.journal import get_logger
from jobqueue.store import documents, statements
from jobqueue.store.audit import AuditStore
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motor.motor_asyncio import AsyncIOMotorClientSession

    from jobqueue.domain.audit import Actor
    from jobqueue.store.database import Database
    from jobqueue.store.statements import Document, Now

log = get_logger(__name__)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class ScheduleStore:
    """Documents ``{_id: name, definition, incarnation, anchor, nextAt, changedAt, skipped}``."""

    def __init__(self, database: Database, now: Now = statements.SERVER_NOW) -> None:
        self.now = now
        self.collection = database.collection("schedules")
        self._audit = AuditStore(database)
        self._database = database
        self._clock = database.clock

    async def time(self) -> datetime:
        """Return the server's time."""
        return await self._clock.now() if isinstance(self.now, str) else self.now

    @guarded
    async def find(self, name: str) -> Schedule | None:
        """Return a schedule, or ``None``."""
        found = await self.collection.find_one({"_id": name})
        return None if found is None else _schedule(found)

    @guarded
    async def page(self, *, after: str, limit: int) -> list[Schedule]:
        """Return schedules by name, those after one."""
        cursor = self.collection.find({"_id": {"$gt": after}}).sort("_id", 1).limit(limit)
        return [one async for found in cursor if (one := _schedule(found))]

    @guarded
    async def due(self, now: datetime, most: int = 100) -> list[Schedule]:
        """Return schedules of which a tick has come, the longest over first."""
        cursor = self.collection.find({"nextAt": {"$gt": _EPOCH, "$lte": now}}).sort("nextAt", 1).limit(most)
        return [one async for found in cursor if (one := _schedule(found))]

    @guarded
    async def seconds_to_next(self, now: datetime) -> float | None:
        """Return in how many seconds the next tick of all is due, or ``None``."""
        found = await self.collection.find_one({"nextAt": {"$gt": _EPOCH}}, {"nextAt": 1}, sort=[("nextAt", 1)])
        return None if found is None else float((found["nextAt"] - now).total_seconds())

    @guarded
    async def advance(self, schedule: Schedule, next_at: datetime | None, skipped: Document | None) -> bool:
        """Go on to a later tick if nobody else has done so, and the schedule is still the same."""
        changed: Document = {"nextAt": next_at} | ({"skipped": skipped} if skipped else {})
        done = await self.collection.update_one(_same(schedule), {"$set": changed})
        return bool(done.modified_count)

    @guarded
    async def swap(self, before: Schedule | None, after: Schedule | None, *, action: str, by: Actor) -> bool:
        """Replace a schedule and note who did it, if it still is what it was before."""
        name = (after or before or _nobody()).name

        async def change(session: AsyncIOMotorClientSession) -> bool:
            if before is None and after is not None:
                there = await self.collection.find_one({"_id": name}, session=session)
                if there is None:
                    await self.collection.insert_one(_document(after), session=session)
                elif _schedule(there) is None:
                    await self.collection.replace_one({"_id": name}, _document(after), session=session)
                else:
                    return False
            elif before is not None and after is not None:
                done = await self.collection.replace_one(_same(before), _document(after), session=session)
                if not done.matched_count:
                    return False
            elif before is not None:
                gone = await self.collection.delete_one(_same(before), session=session)
                if not gone.deleted_count:
                    return False
            told = tuple(one.definition.wire() if one else None for one in (before, after))
            await self._audit.add(("schedule", name), action, by, (told[0], told[1]), session)
            return True

        with contextlib.suppress(DuplicateKeyError):
            return await self._database.in_transaction(change)
        return False


def _nobody() -> Schedule:
    raise ValueError("a schedule before or after is needed")


def _same(schedule: Schedule) -> Document:
    return {
        "_id": schedule.name,
        "incarnation": ObjectId(schedule.incarnation),
        "nextAt": schedule.next_at,
        "changedAt": schedule.changed_at,
    }


def _document(schedule: Schedule) -> Document:
    definition = schedule.definition.wire() | {"job": documents.children_document(schedule.definition.job)}
    return {
        "_id": schedule.name,
        "definition": definition,
        "incarnation": ObjectId(schedule.incarnation),
        "anchor": schedule.anchor,
        "nextAt": schedule.next_at,
        "changedAt": schedule.changed_at,
        "skipped": dict(schedule.skipped) if schedule.skipped else None,
    }


def _schedule(document: Mapping[str, Any]) -> Schedule | None:
    """Return a schedule, or ``None`` for one that somebody has spoilt by hand: it holds up no other."""
    given = document.get("definition")
    job = documents.children_of((given or {}).get("job"), "job") if isinstance(given, dict) else None
    try:
        return Schedule(
            name=str(document["_id"]),
            definition=schedules.read(_mapping(given) | {"job": job if isinstance(job, NewJob) else None}),
            incarnation=str(document["incarnation"]),
            anchor=document["anchor"],
            next_at=document.get("nextAt"),
            changed_at=document["changedAt"],
            skipped=document.get("skipped"),
        )
    except (InvalidInputError, TooLargeError, KeyError, TypeError) as error:
        log.warning("a schedule cannot be understood", name=str(document["_id"]), reason=str(error))
        return None


def _mapping(given: object) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}
