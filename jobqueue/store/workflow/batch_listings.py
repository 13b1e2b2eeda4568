"""Batches in a listing: candidates by an index, and the conditions that depend on their jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import FAILURES
from jobqueue.store.documents import attributes
from jobqueue.store.documents.statements import state_in
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne, aggregate
from jobqueue.store.workflow.batch_statements import BY_STATE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bson import ObjectId

    from jobqueue.domain.workflow.batch import BatchCursor
    from jobqueue.domain.workflow.batch_query import BatchQuery
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

BY_TYPE: Final = "newestOfBatchAndType"
BY_ATTRIBUTE: Final = "newestOfAttribute"
UNMARKED: Final = "unmarked"
NEWEST: Final = [("insertAt", -1), ("_id", -1)]


class BatchListings:
    """Reads batches for listings."""

    def __init__(self, database: Database) -> None:
        self._batches = database.collection("batches")
        self._jobs = database.collection("jobs")

    @guarded
    async def candidates(
        self, query: BatchQuery, place: BatchCursor | None, limit: int, *, meta: Sequence[tuple[str, Any]] = ()
    ) -> list[Document]:
        """Return documents of batches, newest first, from a place on.

        Of the query only what an index answers counts: the first attribute, or else the state.

        Args:
            query: the query.
            place: where to begin; ``None`` for the newest batch.
            limit: the most documents.
            meta: of a scope; its values exclude most other batches.
        """
        found = self._batches.find(candidates(query, place, meta), sort=NEWEST, hint=index_of(query))
        return [document async for document in found.skip(place.passed if place else 0).limit(limit)]

    @guarded
    async def with_type(self, ids: Collection[ObjectId], kind: str) -> set[ObjectId]:
        """Return the batches with a job of a type."""
        return await self._batches_of(of_type(ids, kind), BY_TYPE)

    @guarded
    async def with_failures(self, ids: Collection[ObjectId]) -> set[ObjectId]:
        """Return the batches with a job that has failed or was killed."""
        return await self._batches_of(of_failures(ids), BY_STATE)

    @guarded
    async def mark(self, most: int) -> int:
        """Derive the attributes of batches of earlier versions; return how many there were."""
        cursor = self._batches.find({"attrs": None}, {"meta": 1}, hint=UNMARKED).limit(most)
        # The meta of a batch never changes.
        updates = [
            UpdateOne({"_id": document["_id"]}, {"$set": {"attrs": attributes.derived(document.get("meta"))}})
            async for document in cursor
        ]
        if updates:
            await self._batches.bulk_write(updates, ordered=False)
        return len(updates)

    async def _batches_of(self, pipeline: Sequence[Document], index: str) -> set[ObjectId]:
        return {row["_id"] async for row in await aggregate(self._jobs, pipeline, hint=index)}


def of_type(ids: Collection[ObjectId], kind: str) -> list[Document]:
    """Return the pipeline of the batches with a job of a type; the server skips from batch to batch in the index."""
    return [{"$match": {"batchId": {"$in": list(ids)}, "type": kind}}, {"$group": {"_id": "$batchId"}}]


def of_failures(ids: Collection[ObjectId]) -> list[Document]:
    """Return the pipeline of the batches with a job that has failed or was killed, as `of_type`."""
    badly = {"batchId": {"$in": list(ids)}, "state": state_in(FAILURES)}
    return [{"$match": badly}, {"$group": {"_id": "$batchId"}}]


def index_of(query: BatchQuery) -> str:
    """Return the index of the candidates of a listing, in their order."""
    if query.meta:
        return BY_ATTRIBUTE
    return "newest" if query.state is None else "newestOfState"


def candidates(query: BatchQuery, place: BatchCursor | None, meta: Sequence[tuple[str, Any]] = ()) -> Document:
    """Return the filter of the candidates of a listing."""
    found: Document = {}
    if query.meta:
        found["attrs"] = {"$in": sorted(query.attributes[0])}
    elif query.state is not None:
        found["state"] = query.state
    found |= {f"meta.{path}": {"$eq": value} for path, value in meta}
    if place is not None:
        found["insertAt"] = {"$lte": datetime.fromtimestamp(place.millisecond / 1000, UTC)}
    return found
