"""Drains of workers: fields of the documents of the workers, which their signs of life read and never write.

``drain: {id, since, by, queues, leaving?, toldAt?}``. A process sets ``leaving`` before it goes, so that nobody undoes
a drain that is over. ``toldAt`` is the last time at which a worker that polls was told. A worker of this name that
comes 30 seconds after that is another one.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.work.drain import Drain
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.odd_values import date_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.mongo.database import Database

FIELD: Final = "drain"
KNOWN: Final = "drains"
"""The field that tells that the process of a worker knows drains."""
_LEFT_MS: Final = 30_000


class DrainStore:
    """Sets, removes and reads drains.

    Args:
        database: the connection.
    """

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._workers = database.collection("workers")

    @guarded
    async def begin(self, name: str, by: str) -> bool:
        """Drain a worker; return False if it drains already, or is not there."""
        drain = {
            "id": secrets.token_hex(8),
            "since": self._clock.present,
            "by": {"$literal": by},
            "queues": {"$setUnion": [{"$ifNull": ["$posts.queue", []]}, []]},
        }
        # Another tool may have spoilt the field.
        guard = {"_id": name, "$expr": {"$ne": [{"$type": f"${FIELD}.id"}, "string"]}}
        whole = {FIELD: {"$mergeObjects": [drain]}}
        return bool((await self._workers.update_one(guard, [{"$set": whole}])).modified_count)

    @guarded
    async def undo(self, name: str) -> bool:
        """Remove the drain of a worker that has not left yet; return False if there is none."""
        guard = {"_id": name, FIELD: {"$exists": True}, f"{FIELD}.leaving": {"$exists": False}}
        return bool((await self._workers.update_one(guard, {"$unset": {FIELD: 1}})).modified_count)

    @guarded
    async def leave(self, name: str, drain_id: str) -> bool:
        """Note that a process leaves; return False if its drain was undone."""
        guard = {"_id": name, f"{FIELD}.id": drain_id}
        return bool((await self._workers.update_one(guard, {"$set": {f"{FIELD}.leaving": True}})).matched_count)

    @guarded
    async def of(self, names: Sequence[str]) -> dict[str, Drain]:
        """Return the drains of some workers by name; that of a worker that polled and has left is none."""
        is_there = {"$not": [_has_left(self._clock.present)]}
        query = {"_id": {"$in": list(names)}, FIELD: {"$exists": True}, "$expr": is_there}
        found = self._workers.find(query, {FIELD: 1})
        drains = {str(document["_id"]): read(document) async for document in found}
        return {name: drain for name, drain in drains.items() if drain is not None}


def kept(present: Any, *, is_told: bool) -> dict[str, Any]:
    """Return the part of an update that keeps the drain of a worker that polls.

    Args:
        present: the expression of the present.
        is_told: the worker was told just now.
    """
    if is_told:
        told = {"$mergeObjects": [f"${FIELD}", {"toldAt": present}]}
        return {FIELD: {"$cond": [{"$eq": [{"$type": f"${FIELD}"}, "object"]}, told, "$$REMOVE"]}}
    return {FIELD: {"$cond": [_has_left(present), "$$REMOVE", f"${FIELD}"]}}


def _has_left(present: Any) -> dict[str, Any]:
    """Return the expression that tells that a worker was told of its drain long ago.

    A date far ahead of the present is older: the server's clock was set back.
    """
    told_at = f"${FIELD}.toldAt"
    dated = {"$cond": [{"$eq": [{"$type": told_at}, "date"]}, told_at, present]}
    return {"$gt": [{"$abs": {"$subtract": [present, dated]}}, _LEFT_MS]}


def read(document: Mapping[str, Any] | None) -> Drain | None:
    """Return the drain in the document of a worker; one without an id, which another tool has spoilt, is none."""
    stored = None if document is None else document.get(FIELD)
    if not isinstance(stored, dict) or not isinstance(stored.get("id"), str):
        return None
    queues = stored.get("queues")
    return Drain(
        id=stored["id"],
        since=date_or_none(stored.get("since")) or EPOCH,
        by=str(stored.get("by")),
        queues=tuple(map(str, queues)) if isinstance(queues, list) else (),
        leaving="leaving" in stored,
    )
