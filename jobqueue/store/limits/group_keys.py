"""Correct the group keys of waiting jobs: a key may be missing, or belong to another value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.store.limits import group_key_statements, limit_statements
from jobqueue.store.limits.group_key_statements import KEY, STATES, Place
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

PART: Final = 5000
"""Waiting jobs in one step of a walk."""
_INDEX: Final = "newestOfQueue"
_ORDER: Final = [("insertAt", 1), ("_id", 1)]
_AT_ONCE: Final = 200
_FIRST: Final = (datetime(1, 1, 1, tzinfo=UTC), ObjectId("0" * 24))


class LimitKeyStore:
    """Finds waiting jobs in no group or in the wrong group, and corrects their keys."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self.clock = database.clock

    @guarded
    async def correct_new(self, queue: str, path: str, since: datetime) -> int:
        """Correct the waiting jobs of a queue that were inserted since a date; return the number of wrong keys."""
        return await self._correct(queue, path, group_key_statements.newer(since), _INDEX)

    @guarded
    async def correct_part(self, queue: str, path: str, place: Place | None) -> tuple[int, Place | None]:
        """Correct the next `PART` waiting jobs of a queue after the place of a walk; ``None`` begins it.

        Returns:
            The number of wrong keys, and the new place of the walk; ``None`` at its end.
        """
        place = place or (STATES[0], *_FIRST)
        edge = await self._edge(queue, place)
        if edge is not None:
            part = group_key_statements.between(place, edge)
            return await self._correct(queue, path, part, _INDEX), edge
        changed = await self._correct(queue, path, group_key_statements.beyond(place), _INDEX)
        left = STATES[STATES.index(place[0]) + 1 :]
        return changed, (left[0], *_FIRST) if left else None

    @guarded
    async def correct_group(self, queue: str, key: str) -> int:
        """Correct jobs that have the key of a group by mistake; return their number."""
        group: Document = {"state": State.PENDING.value, KEY: key}
        path = group_key_statements.path_of(key)
        return await self._correct(queue, path, group, limit_statements.GROUP_INDEX, most=_AT_ONCE)

    @guarded
    async def correct_some(self, queue: str, path: str, ids: Sequence[Any]) -> int:
        """Correct those of some jobs of a queue that wait; return the number of wrong keys."""
        part: Document = {"_id": {"$in": list(ids)}, "state": {"$in": list(group_key_statements.STATES)}}
        return await self._correct(queue, path, part, "_id_")

    async def _edge(self, queue: str, place: Place) -> Place | None:
        query = {"queue": queue, **group_key_statements.beyond(place)}
        cursor = self._jobs.find(query, {"insertAt": 1}, sort=_ORDER, hint=_INDEX).skip(PART - 1).limit(1)
        ends = [(place[0], document["insertAt"], document["_id"]) async for document in cursor]
        return ends[0] if ends else None

    async def _correct(self, queue: str, path: str, part: Document, index: str, *, most: int = 0) -> int:
        query = group_key_statements.misplaced(queue, path) | part
        cursor = self._jobs.find(query, {path: 1, KEY: 1}, hint=index).limit(most)
        changed = 0
        updates: list[UpdateOne] = []
        async for document in cursor.batch_size(_AT_ONCE):
            update = group_key_statements.regroup(document, queue, path)
            updates += [UpdateOne(*update)] if update else []
            if len(updates) == _AT_ONCE:
                changed += await self._write(updates)
                updates = []
        return changed + await self._write(updates)

    async def _write(self, updates: list[UpdateOne]) -> int:
        return int((await self._jobs.bulk_write(updates, ordered=False)).modified_count) if updates else 0
