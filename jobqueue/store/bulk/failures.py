"""Failures, grouped by their causes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.fingerprint import fingerprint, summary
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.work.failure import FailureGroup, Sample
from jobqueue.store.bulk import failure_statements
from jobqueue.store.bulk.failure_counts import FailureCountStore, grouped
from jobqueue.store.bulk.failure_samples import FailureSampleStore
from jobqueue.store.documents import attributes, documents, scope_filters
from jobqueue.store.mongo.database import guarded, is_too_slow
from jobqueue.store.mongo.driver import PyMongoError, UpdateOne, aggregate, timeout
from jobqueue.store.mongo.odd_values import date_or_none

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.failure import FailureQuery
    from jobqueue.store.bulk.failure_counts import Part
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

GROUPING_SECONDS: Final = 5.0
"""Seconds that grouping may take."""
MOST: Final = 50_000
"""Failures between dates, and jobs of a scope of attributes, that a request looks at."""
_LOOKS: Final = 400
_NEWEST: Final = 500
_BY_ATTRIBUTE: Final = "newestOfAttribute"
_SAMPLED: Final = {"type": 1, "queue": 1, "state": 1, "endAt": 1, "error": 1}


class FailureStore:
    """Groups failures, and gives them missing fingerprints."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self.counts = FailureCountStore(database)
        self.samples = FailureSampleStore(database)

    @guarded
    async def page(self, query: FailureQuery, scope: Scope) -> tuple[list[FailureGroup], bool]:
        """Return a page of groups, and whether there are more.

        Few failures are grouped as they are. Of many the kept counts tell, unless dates or attributes narrow them.

        Raises:
            InvalidInputError: there are more failures than can be grouped in time.
        """
        try:
            with timeout(GROUPING_SECONDS):
                return await self._page(query, scope)
        except PyMongoError as error:
            if not is_too_slow(error):
                raise
            raise _too_many() from None

    async def _page(self, query: FailureQuery, scope: Scope) -> tuple[list[FailureGroup], bool]:
        search = scope_filters.within(failure_statements.matching(query), scope)
        hint: dict[str, Any] = {"hint": failure_statements.INDEX}
        pipeline = failure_statements.groups(query, search)
        if scope.meta:
            hint = {"hint": _BY_ATTRIBUTE}
            newest: Document = {"$match": attributes.indexed(*scope.meta[0])}
            pipeline = [newest, {"$sort": dict(failure_statements.LATEST)}, {"$limit": MOST}, *pipeline]
        elif not await self.counts.are_few(query.fingerprint):
            if query.is_dated:
                dated, index = await self._dated(query)
                hint, pipeline = {"hint": index}, [{"$match": dated}, *pipeline]
            elif (kept := await self.counts.kept()) and query.fingerprint in {None, *kept.groups}:
                return await self._from_kept(query, scope, search, kept.parts)
        cursor = await aggregate(self._jobs, pipeline, allowDiskUse=False, **hint)
        groups = await cursor.to_list(None)
        shown = groups[: query.limit]
        samples = await asyncio.gather(*(self._sample(search, group, _hint(scope)) for group in shown))
        page = [_group(group, sample) for group, sample in zip(shown, samples, strict=True) if sample is not None]
        return page, len(groups) > query.limit

    async def _dated(self, query: FailureQuery) -> tuple[Document, str]:
        """Return a filter for the dates of a query, and its index.

        Raises:
            InvalidInputError: it matches too many failures.
        """
        queues = [query.queue] if query.queue is not None else await self._jobs.distinct("queue")
        dated, index = failure_statements.dated(query, queues)
        if await self._jobs.count_documents(dated, limit=MOST + 1, hint=index) > MOST:
            raise _too_many()
        return dated, index

    async def _from_kept(
        self, query: FailureQuery, scope: Scope, search: Document, parts: Sequence[Part]
    ) -> tuple[list[FailureGroup], bool]:
        """Return a page of kept groups; a group without a job left is none."""
        groups = grouped(parts, query, scope)
        page: list[FailureGroup] = []
        place = 0
        while place < min(len(groups), _LOOKS) and len(page) < query.limit:
            some = groups[place : place + query.limit - len(page)]
            place += len(some)
            samples = await self._samples(some, search)
            page += [_group(group, samples[group["_id"]]) for group in some if group["_id"] in samples]
        return page, place < len(groups)

    async def _samples(self, groups: Sequence[Document], search: Document) -> dict[str, Sample]:
        """Return the newest jobs of groups by fingerprint; the known ones, unless they have changed."""
        ids = [group["newest"] for group in groups]
        cursor = self._jobs.find({**search, "_id": {"$in": ids}}, _SAMPLED | {"fingerprint": 1}, hint="_id_")
        samples = {document["fingerprint"]: _sample(documents.job(document)) async for document in cursor}
        for group in groups:
            name = group["_id"]
            if name not in samples:
                pipeline = [*failure_statements.newest(name, search, _NEWEST), {"$project": _SAMPLED}]
                found = await aggregate(self._jobs, pipeline, hint=failure_statements.INDEX)
                for document in await found.to_list(1):
                    samples[name] = _sample(documents.job(document))
        return samples

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
        return _sample(job)


def _hint(scope: Scope) -> dict[str, Any]:
    """Return the index to use; within a scope of attributes their index may be the better one."""
    return {} if scope.meta else {"hint": failure_statements.INDEX}


def _sample(job: Job) -> Sample:
    return Sample(id=job.id, type=job.type, queue=job.queue, state=job.state, end_at=job.end_at, error=job.error)


def _too_many() -> InvalidInputError:
    return InvalidInputError(
        {"endedAfter": ["there are too many failures to group them all: narrow them by this, or by queue"]}
    )


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
        first_at=date_or_none(group["firstAt"]),
        last_at=date_or_none(group["lastAt"]),
        queues=tuple(sorted(name for name in group["queues"] if type(name) is str)),
        sample=sample,
    )
