"""Failures, grouped by their causes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.fingerprint import fingerprint, summary
from jobqueue.domain.work.failure import FailureGroup, Sample
from jobqueue.store.bulk import failure_statements
from jobqueue.store.documents import documents, scope_filters
from jobqueue.store.mongo.database import guarded, is_too_slow
from jobqueue.store.mongo.driver import PyMongoError, UpdateOne, aggregate, timeout

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.failure import FailureQuery
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

GROUPING_SECONDS: Final = 5.0
"""Seconds that grouping may take."""
_SAMPLED: Final = {"type": 1, "queue": 1, "state": 1, "endAt": 1, "error": 1}


class FailureStore:
    """Groups failures, and gives them missing fingerprints."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def page(self, query: FailureQuery, scope: Scope) -> tuple[list[FailureGroup], bool]:
        """Return a page of groups, and whether there are more.

        Raises:
            InvalidInputError: there are more failures than can be grouped in time.
        """
        search = scope_filters.within(failure_statements.matching(query), scope)
        hint = _hint(scope)
        pipeline = failure_statements.groups(query, search)
        try:
            with timeout(GROUPING_SECONDS):
                cursor = await aggregate(self._jobs, pipeline, allowDiskUse=False, **hint)
                groups = await cursor.to_list(None)
                shown = groups[: query.limit]
                samples = await asyncio.gather(*(self._sample(search, group, hint) for group in shown))
        except PyMongoError as error:
            if not is_too_slow(error):
                raise
            raise InvalidInputError(
                {"endedAfter": ["there are too many failures to group them all: narrow them by this, or by queue"]}
            ) from None
        page = [_group(group, sample) for group, sample in zip(shown, samples, strict=True) if sample is not None]
        return page, len(groups) > query.limit

    @guarded
    async def latest(self, query: FailureQuery, scope: Scope) -> Job | None:
        """Return the latest job of a group, as `LEAN`, if there is one."""
        search = scope_filters.within(failure_statements.matching(query), scope)
        return await self._latest(search, documents.LEAN, _hint(scope))

    @guarded
    async def newest(self, query: FailureQuery, scope: Scope, most: int) -> list[Job]:
        """Return the newest jobs of a query, as `LEAN`."""
        search = scope_filters.within(failure_statements.matching(query), scope)
        cursor = self._jobs.find(search, documents.LEAN, sort=failure_statements.LATEST, **_hint(scope)).limit(most)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def mark(self, most: int) -> int:
        """Give a fingerprint to failures that have none; return how many got one."""
        cursor = self._jobs.find(failure_statements.unmarked(), _SAMPLED, hint=failure_statements.INDEX).limit(most)
        updates = []
        async for document in cursor:
            job = documents.job(document)
            # Only if the job is unchanged: a person may requeue it meanwhile.
            same: Document = {name: {"$eq": document.get(name)} for name in ("_id", "queue", "state", "endAt")}
            same["fingerprint"] = None
            updates.append(UpdateOne(same, {"$set": {"fingerprint": fingerprint(job.type, job.error)}}))
        return int((await self._jobs.bulk_write(updates, ordered=False)).modified_count) if updates else 0

    async def _latest(self, search: Document, projection: Document, hint: dict[str, Any]) -> Job | None:
        document = await self._jobs.find_one(search, projection, sort=failure_statements.LATEST, **hint)
        return None if document is None else documents.job(document)

    async def _sample(self, search: Document, group: Document, hint: dict[str, Any]) -> Sample | None:
        job = await self._latest({**search, "fingerprint": group["_id"]}, _SAMPLED, hint)
        if job is None:
            # All jobs of the group were requeued since they were counted.
            return None
        return Sample(id=job.id, type=job.type, queue=job.queue, state=job.state, end_at=job.end_at, error=job.error)


def _hint(scope: Scope) -> dict[str, Any]:
    """Return the index to use; within a scope of attributes their index may be the better one."""
    return {} if scope.meta else {"hint": failure_statements.INDEX}


def _group(group: Document, sample: Sample) -> FailureGroup:
    message, place = summary(sample.error) if sample.error else ("", None)
    if fingerprint(sample.type, sample.error) != group["_id"]:
        # Fingerprints of older versions ignore the place: other jobs of the group may have another one.
        place = None
    return FailureGroup(
        fingerprint=group["_id"],
        message=message,
        place=place,
        count=group["count"],
        states={state: group[state] for state in failure_statements.STATES if group[state]},
        first_at=documents.date_or_none(group["firstAt"]),
        last_at=documents.date_or_none(group["lastAt"]),
        queues=tuple(sorted(name for name in group["queues"] if type(name) is str)),
        sample=sample,
    )
