"""Erase what alerts have quoted of erased jobs: in incidents, and in the jobs that are their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.store.bulk import erasure_statements
from jobqueue.store.documents import documents
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.mongo.odd_values import mapping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_FAILURES: Final = "failures"
_OF_JOBS: Final = frozenset({"doubt", "question"})
_BY_QUEUE: Final = "newestOfQueue"
_PAGE: Final = 500


class AlertErasure:
    """Erases the quotations of the jobs that one operation has erased; all calls can be repeated.

    Args:
        database: the database.
        operation: the id of the operation.
        erase: erases a job whole if it has ended, and otherwise what lies outside of its document.
        still: called now and then, so that the operation stays held.
    """

    def __init__(
        self,
        database: Database,
        operation: str,
        erase: Callable[[Job, str], Awaitable[None]],
        still: Callable[[], Awaitable[object]],
    ) -> None:
        self._jobs = database.collection("jobs")
        self._incidents = database.collection("incidents")
        self._operation = operation
        self._erase = erase
        self._still = still
        self._groups: set[str] = set()

    async def run(self) -> None:
        """Erase all quotations: in incidents first, of which messages are made."""
        if await self._incidents.find_one({}, {"_id": 1}) is None and not await self._has_messages():
            return
        of_this: Document = {f"{erasure_statements.FIELD}.operation": ObjectId(self._operation)}
        pipeline: list[Document] = [{"$match": of_this}, {"$group": {"_id": "$fingerprint"}}]
        rows = await aggregate(self._jobs, pipeline, hint=erasure_statements.INDEX)
        self._groups = {row["_id"] async for row in rows if isinstance(row["_id"], str)}
        await self._in_incidents()
        await self._in_messages()

    async def _has_messages(self) -> bool:
        return await self._jobs.find_one({"queue": ALERT_QUEUE}, {"_id": 1}, hint=_BY_QUEUE) is not None

    async def _in_incidents(self) -> None:
        after: Document = {}
        while page := await self._incidents.find(after, {"kind": 1, "key": 1}).sort("_id", 1).limit(_PAGE).to_list():
            erased = await self._erased((one.get("kind"), one.get("key")) for one in page)
            for one in page:
                if _thing(one.get("kind"), one.get("key")) not in erased:
                    continue
                if one.get("kind") in _OF_JOBS:
                    # The thing is over with its job, and its name may have names of steps.
                    await self._incidents.delete_one({"_id": one["_id"]})
                else:
                    await self._incidents.update_one({"_id": one["_id"]}, erasure_statements.of_incident())
            await self._still()
            after = {"_id": {"$gt": page[-1]["_id"]}}

    async def _in_messages(self) -> None:
        fields = {"data.kind": 1, "data.thing": 1}
        after: Document = {}
        while (
            page := await self._jobs.find(
                {"queue": ALERT_QUEUE, "state": {"$exists": True}} | after, fields, hint=_BY_QUEUE
            )
            .sort("_id", 1)
            .limit(_PAGE)
            .to_list()
        ):
            told = {one["_id"]: mapping(one.get("data")) for one in page}
            erased = await self._erased((data.get("kind"), data.get("thing")) for data in told.values())
            for job_id, data in told.items():
                if _thing(data.get("kind"), data.get("thing")) in erased:
                    await self._in_message(job_id, data)
            await self._still()
            after = {"_id": {"$gt": page[-1]["_id"]}}

    async def _in_message(self, job_id: ObjectId, data: Mapping[str, Any]) -> None:
        document = await self._jobs.find_one({"_id": job_id} | erasure_statements.UNFINISHED_ERASURE)
        if document is not None:
            await self._erase(documents.job(document), self._operation)
        # A message that is not sent yet says the rest of what it knows; one about a job says nothing any more, not even
        # the thing by which the next process would find it: so this comes last.
        update = erasure_statements.of_message(whole=data.get("kind") in _OF_JOBS)
        await self._jobs.update_one({"_id": job_id} | erasure_statements.NOT_ERASED, update)

    async def _erased(self, things: Iterable[tuple[Any, Any]]) -> set[str]:
        """Return the things of a page that are about erased jobs: their groups of failures, and their ids."""
        known = {thing for kind, key in things if (thing := _thing(kind, key)) is not None}
        ids = [ObjectId(thing) for thing in known if ObjectId.is_valid(thing)]
        of_this = {"_id": {"$in": ids}, f"{erasure_statements.FIELD}.operation": ObjectId(self._operation)}
        return (known & self._groups) | {str(job["_id"]) async for job in self._jobs.find(of_this, {"_id": 1})}


def _thing(kind: Any, key: Any) -> str | None:
    """Return the group, or the id of the job, that a thing is about."""
    if not isinstance(key, str):
        return None
    if kind == _FAILURES:
        return key
    return key.partition("/")[0] if kind in _OF_JOBS else None
