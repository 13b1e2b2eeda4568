"""Failures, grouped by what went wrong."""

from __future__ import annotations

import asyncio
from datetime import datetime
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
"""How long grouping may take."""
_SAMPLED: Final = {"type": 1, "queue": 1, "state": 1, "endAt": 1, "error": 1}


class FailureStore:
    """Groups failures, and gives those a fingerprint that lack one."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def page(self, query: FailureQuery, scope: Scope) -> tuple[list[FailureGroup], bool]:
        """Return a page of groups, and whether there are more.

        Raises:
            InvalidInputError: there are more failures than can be grouped in time.
        """
        found = scope_filters.within(failure_statements.matching(query), scope)
        # Within a scope of attributes the index of those may be the better one.
        hint: Any = {} if scope.meta else {"hint": failure_statements.INDEX}
        pipeline = failure_statements.groups(query, found)
        try:
            with timeout(GROUPING_SECONDS):
                cursor = await aggregate(self._jobs, pipeline, allowDiskUse=False, **hint)
                parts = [one async for one in cursor]
        except PyMongoError as error:
            if not is_too_slow(error):
                raise
            raise InvalidInputError(
                {"endedAfter": ["there are too many failures to group them all: narrow them by this, or by queue"]}
            ) from None
        shown = parts[: query.limit]
        samples = await asyncio.gather(*(self._sample(found, one) for one in shown))
        made = [_group(one, sample) for one, sample in zip(shown, samples, strict=True) if sample is not None]
        return made, len(parts) > query.limit

    @guarded
    async def latest(self, query: FailureQuery, scope: Scope) -> Job | None:
        """Return the latest job of a group, without its data, if it has any."""
        found = scope_filters.within(failure_statements.matching(query), scope)
        one = await self._latest(found, {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0})
        return None if one is None else documents.job(one)

    @guarded
    async def mark(self, most: int) -> int:
        """Give failures a fingerprint that have none; return how many got one."""
        cursor = self._jobs.find(failure_statements.unmarked(), _SAMPLED, hint=failure_statements.INDEX).limit(most)
        updates = []
        async for one in cursor:
            job = documents.job(one)
            # Only while it is what was looked at: a person may start it again meanwhile.
            same: Document = {name: {"$eq": one.get(name)} for name in ("_id", "queue", "state", "endAt")}
            same["fingerprint"] = None
            updates.append(UpdateOne(same, {"$set": {"fingerprint": fingerprint(job.type, job.error)}}))
        return int((await self._jobs.bulk_write(updates, ordered=False)).modified_count) if updates else 0

    async def _latest(self, found: Document, projection: Document) -> Document | None:
        one: Document | None = await self._jobs.find_one(
            found, projection, sort=failure_statements.LATEST, hint=failure_statements.INDEX
        )
        return one

    async def _sample(self, found: Document, group: Document) -> Sample | None:
        one = await self._latest({**found, "fingerprint": group["_id"]}, _SAMPLED)
        if one is None:
            # All have been started again since they were counted.
            return None
        job = documents.job(one)
        return Sample(id=job.id, type=job.type, queue=job.queue, state=job.state, end_at=job.end_at, error=job.error)


def _group(one: Document, sample: Sample) -> FailureGroup:
    message, place = summary(sample.error) if sample.error else ("", None)
    if fingerprint(sample.type, sample.error) != one["_id"]:
        # An older version did not look at the place: other jobs of the group may have another one.
        place = None
    return FailureGroup(
        fingerprint=one["_id"],
        message=message,
        place=place,
        count=one["count"],
        states={state: one[state] for state in failure_statements.STATES if one[state]},
        first_at=one["firstAt"] if isinstance(one["firstAt"], datetime) else None,
        last_at=one["lastAt"] if isinstance(one["lastAt"], datetime) else None,
        queues=tuple(sorted(name for name in one["queues"] if isinstance(name, str))),
        sample=sample,
    )
