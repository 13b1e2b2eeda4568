"""Finding out whether a job would come to wait for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.jobs.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bson import ObjectId

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.driver import AsyncCollection


async def leads_to(
    jobs: AsyncCollection[Any],
    waiting: ObjectId,
    others: Iterable[ObjectId],
    new: Mapping[ObjectId, Iterable[ObjectId]],
) -> bool:
    """Tell whether some jobs wait for one, directly or because of what they depend on.

    Args:
        jobs: the collection.
        waiting: that one.
        others: the jobs to begin with.
        new: what jobs depend on that are not stored yet.
    """
    seen: set[ObjectId] = set()
    front = set(others)
    while front and waiting not in front:
        seen |= front
        found = {before for one in front if one in new for before in new[one]}
        # What has succeeded waits for nothing, also when its batch is requeued.
        stored: Document = {
            "_id": {"$in": [one for one in front if one not in new]},
            "state": {"$ne": State.SUCCESS.value},
        }
        if stored["_id"]["$in"]:
            async for one in jobs.find(stored, {"dependsOn": 1}):
                found.update(one.get("dependsOn") or ())
        front = found - seen
    return waiting in front
