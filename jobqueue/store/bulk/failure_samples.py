"""Samples of failed jobs and of jobs that succeeded, with bounds on the jobs, the bytes and the time.

For each of the newest failed jobs those are looked up that were added just before it and succeeded. So both samples
are of the same times: whatever changes with the time, such as ids that count up, is no difference between them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.features import ROOTS, ComparedJob, Run
from jobqueue.store.bulk import failure_statements
from jobqueue.store.documents import attributes, documents, scope_filters
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded, is_too_slow
from jobqueue.store.mongo.driver import PyMongoError, aggregate, timeout
from jobqueue.store.mongo.odd_values import date_or_none, id_or_none, mapping, number, text, whole
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.work.failure import FailureQuery
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST: Final = 500
"""Jobs of a sample."""
MOST_BYTES: Final = 16 * 1024
"""Bytes of ``data`` or ``meta``; larger ones are not read."""
READ_SECONDS: Final = 1.5
_SEEK_SECONDS: Final = 1.0
ANCHORS: Final = 250
"""Failed jobs before which others are looked for."""
LOOKS: Final = 20
"""Jobs of any state that are looked at before each of many; twice as many as are to be found before each of few."""
_EACH: Final = 2
_CANDIDATES: Final = 4
_USUAL: Final = 200
"""Other jobs for few failed ones: more of them before each."""
_AT_ONCE: Final = 25
_BEFORE_FIRST: Final = 40
_DATES: Final = 100
_DAYS: Final = 2
"""Days between the failed jobs from which on others are looked for at all times of the day."""
_FEW: Final = 100
MOST_LOOKS: Final = 5_000
"""Jobs of their queues that are looked at, if there are few before the failed ones."""
OF_ATTRIBUTE: Final = 20_000
"""Newest jobs of an attribute of a scope that are looked at."""
_MOST_QUEUES: Final = 30
_BY_ATTRIBUTE: Final = "newestOfAttribute"
_NEWEST: Final[Document] = {"$sort": dict(failure_statements.LATEST)}
_GOLDEN: Final = 0.618
_PLAIN: Final = ("queue", "priority", "attempts", "timeout", "schedule", "batchId")
_KEPT: Final = 3


@dataclass(slots=True)
class FailureSamples:
    """Both samples, as far as they could be read in time.

    Attributes:
        before_first: the oldest job of the group, and others that were added just before it.
        any_time: others of all times between the first and the last failed job, if these are days apart.
        is_all: the failed jobs are the whole group.
        is_near: the jobs that succeeded were added when the failed ones were.
    """

    failed: list[ComparedJob] = field(default_factory=list)
    succeeded: list[ComparedJob] = field(default_factory=list)
    before_first: list[ComparedJob] = field(default_factory=list)
    any_time: list[ComparedJob] = field(default_factory=list)
    is_all: bool = False
    is_near: bool = True
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Lead:
    """A way to the jobs of a type in the order of their creation: a filter by an index, and one for what it finds."""

    indexed: Document
    index: str
    search: Document

    def before(self, date: datetime, looks: int, most: int) -> list[Document]:
        """Return the pipeline of the ids of some jobs that were added until a date, the newest first."""
        until = {**self.indexed, "insertAt": {"$lte": date}}
        found = [{"$match": until}, _NEWEST, {"$limit": looks}, {"$match": self.search}, {"$limit": most}]
        return [*found, {"$project": {"at": {"$literal": date}}}]


class FailureSampleStore:
    """Reads samples of failed jobs and of jobs of the same type that succeeded."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def read(self, query: FailureQuery, kind: str, scope: Scope) -> FailureSamples:
        """Return samples within a scope.

        Args:
            query: of one group, and a queue.
            kind: the type of the group.
            scope: of the caller.
        """
        samples = FailureSamples()
        try:
            with timeout(READ_SECONDS):
                await self._failed(samples, query, scope)
                if samples.failed:
                    await self._succeeded(samples, query, kind, scope)
        except PyMongoError as error:
            if not is_too_slow(error):
                raise
            samples.is_complete = False
        return samples

    async def _failed(self, samples: FailureSamples, query: FailureQuery, scope: Scope) -> None:
        search = scope_filters.within(failure_statements.matching(query), scope)
        if scope.meta:
            # One look at the newest jobs of the attribute: they are in no index by group.
            samples.failed = await self._some(of_attribute(search, scope), _BY_ATTRIBUTE)
            return
        found = await self._some(of_group(search, newest=True, most=MOST + 1), failure_statements.INDEX)
        samples.failed, samples.is_all = found[:MOST], len(found) <= MOST
        samples.before_first = await self._some(of_group(search, newest=False, most=1), failure_statements.INDEX)

    async def _succeeded(self, samples: FailureSamples, query: FailureQuery, kind: str, scope: Scope) -> None:
        done: Document = {"type": kind, "state": State.SUCCESS.value}
        if query.queue is not None:
            done["queue"] = query.queue
        search = scope_filters.within(done, scope)
        if scope.meta:
            samples.succeeded = await self._some(of_attribute(search, scope), _BY_ATTRIBUTE)
            samples.is_near = False
            return
        queues = await self._queues(query, scope)
        lead = Lead({"type": kind}, "newestOfType", search)
        if queues is not None:
            lead = Lead({"queue": {"$in": queues}, "type": kind}, "newestOfQueueAndType", search)
        await self._before_first(samples, lead)
        await self._near(samples, lead)
        if len(samples.succeeded) < _FEW:
            samples.is_near = False
            queues = queues or sorted({str(job.fields.get("queue") or "") for job in samples.failed})
            some = await self._some(*of_queues(search, queues, samples.failed[0].insert_at))
            known = {job.id for job in samples.succeeded}
            samples.succeeded += [job for job in some if job.id not in known]
        await self._any_time(samples, lead)

    async def _near(self, samples: FailureSamples, lead: Lead) -> None:
        """Read jobs that were added just before failed ones, some for each of these."""
        dates = [job.insert_at for job in samples.failed]
        anchors = [dates[len(dates) * place // ANCHORS] for place in range(ANCHORS)] if len(dates) > ANCHORS else dates
        each = max(_EACH, min(_USUAL // len(anchors), _BEFORE_FIRST))
        looks = max(LOOKS, 2 * each)
        known: set[Any] = set()
        ends = time.monotonic() + _SEEK_SECONDS
        # Each round is of all times, so that an early end is no choice of some.
        rounds = -(-len(anchors) // _AT_ONCE)
        for first in range(rounds):
            candidates = await self._before(lead, anchors[first::rounds], looks, each * _CANDIDATES)
            chosen: list[Any] = []
            for date in anchors[first::rounds]:
                new = [name for name in candidates.get(date, ()) if name not in known][:each]
                known |= set(new)
                chosen += new
            samples.succeeded += await self._of_ids(chosen)
            if time.monotonic() >= ends and first + 1 < rounds:
                samples.is_complete = False
                break

    async def _before_first(self, samples: FailureSamples, lead: Lead) -> None:
        if samples.before_first:
            first = samples.before_first[0].insert_at
            found = await self._before(lead, [first], 2 * _BEFORE_FIRST, _BEFORE_FIRST)
            samples.before_first += await self._of_ids(found.get(first, []))

    async def _any_time(self, samples: FailureSamples, lead: Lead) -> None:
        dates = [job.insert_at for job in samples.failed]
        if (dates[0] - dates[-1]).days >= _DAYS:
            found = await self._before(lead, spread(dates[-1], dates[0] - dates[-1]), LOOKS, 1)
            samples.any_time = await self._of_ids(list({name: None for names in found.values() for name in names}))

    async def _before(self, lead: Lead, dates: Sequence[datetime], looks: int, most: int) -> dict[datetime, list[Any]]:
        """Return the ids of jobs before each date, in few commands."""
        found: dict[datetime, list[Any]] = {}
        pipelines = [lead.before(date, looks, most) for date in dict.fromkeys(dates)]
        for place in range(0, len(pipelines), _AT_ONCE):
            first, *rest = pipelines[place : place + _AT_ONCE]
            unions = [{"$unionWith": {"coll": self._jobs.name, "pipeline": pipeline}} for pipeline in rest]
            async for document in await aggregate(
                self._jobs, [*first, *unions], hint=lead.index, batchSize=_AT_ONCE * LOOKS
            ):
                found.setdefault(document["at"], []).append(document["_id"])
        return found

    async def _queues(self, query: FailureQuery, scope: Scope) -> list[str] | None:
        """Return the queues to look at; ``None`` for all."""
        if query.queue is not None:
            return [query.queue]
        if not scope.queues:
            return None
        names = await self._jobs.distinct("queue")
        queues = [name for name in names if isinstance(name, str) and scope.has_queue(name)]
        return queues if len(queues) <= _MOST_QUEUES else None

    async def _of_ids(self, ids: Sequence[Any]) -> list[ComparedJob]:
        return await self._some([{"$match": {"_id": {"$in": list(ids)}}}, {"$project": shown()}], "_id_") if ids else []

    async def _some(self, pipeline: Sequence[Document], index: str) -> list[ComparedJob]:
        cursor = await aggregate(self._jobs, pipeline, hint=index, batchSize=MOST + 1)
        return [job(document) for document in await cursor.to_list(None) if date_or_none(document.get("insertAt"))]


def of_group(search: Document, *, newest: bool, most: int) -> list[Document]:
    """Return the pipeline of the newest or of the oldest jobs of a group."""
    order = -1 if newest else 1
    first: Document = {"$sort": {"insertAt": order, "_id": order}}
    return [{"$match": search}, first, {"$limit": most}, {"$project": shown()}]


def of_attribute(search: Document, scope: Scope) -> list[Document]:
    """Return the pipeline of the newest jobs of a search within a scope of attributes."""
    attribute: Document = {"$match": attributes.indexed(*scope.meta[0])}
    newest = [attribute, _NEWEST, {"$limit": OF_ATTRIBUTE}]
    return [*newest, {"$match": search}, {"$limit": MOST}, {"$project": shown()}]


def of_queues(search: Document, queues: Sequence[str], until: datetime) -> tuple[list[Document], str]:
    """Return the pipeline of the newest jobs of a search among those of some queues that succeeded, and its index."""
    lead: Document = {"state": State.SUCCESS.value, "insertAt": {"$lte": until}}
    if len(queues) <= _MOST_QUEUES:
        lead["queue"] = {"$in": list(queues)}
    pipeline = [{"$match": lead}, _NEWEST, {"$limit": MOST_LOOKS}, {"$match": search}, {"$limit": MOST // 2}]
    return [*pipeline, {"$project": shown()}], "newestOfQueue" if "queue" in lead else "newestOfState"


def spread(first: datetime, length: timedelta) -> list[datetime]:
    """Return dates over a time, at no regular distance: days would always meet the same hour."""
    return [first + length * ((place + place * _GOLDEN % 1) / _DATES) for place in range(_DATES)]


def shown() -> Document:
    """Return the fields to read; what is large or another tool has spoilt is left out."""
    entry = {
        "is": {"$eq": [{"$type": "$$this.token"}, "string"]},
        **{name: f"$$this.{name}" for name in ("worker", "version", "startAt")},
    }
    history = array("$history")
    read: Document = dict.fromkeys((*_PLAIN, "state", "insertAt", "endAt", "attemptsMade", "spilled", "error.step"), 1)
    read["runs"] = {"$map": {"input": {"$slice": [history, -_KEPT]}, "in": entry}}
    read["first"] = {"$map": {"input": {"$slice": [history, 1]}, "in": {"startAt": "$$this.startAt"}}}
    for root in ROOTS:
        size: Document = {"$bsonSize": f"${root}"}
        is_small: Document = {"$cond": [{"$lte": [size, MOST_BYTES]}, f"${root}", None]}
        is_object = {"$eq": [{"$type": f"${root}"}, "object"]}
        read[f"size.{root}"] = {"$cond": [is_object, size, 0]}
        read[root] = {"$cond": [is_object, is_small, None]}
    return read


def job(document: Document) -> ComparedJob:
    """Return a job of a sample."""
    get = document.get
    insert_at = date_or_none(get("insertAt")) or EPOCH
    sizes = {root: whole(mapping(get("size")).get(root), 0) for root in ROOTS}
    contents: dict[str, Any] = {
        root: attributes.plain(mapping(get(root))) if sizes[root] <= MOST_BYTES else None for root in ROOTS
    }
    runs = [run for run in (get("runs") or []) if run.get("is")]
    started = None if get("spilled") else next((date_or_none(run.get("startAt")) for run in get("first") or []), None)
    return ComparedJob(
        id=str(document["_id"]),
        state=documents.state(get("state")),
        insert_at=insert_at,
        end_at=date_or_none(get("endAt")),
        fields=_fields(document),
        data=contents["data"],
        meta=contents["meta"],
        sizes=sizes,
        run=_run(runs[-1]) if runs else Run(),
        waited=None if started is None else round(max((started - insert_at).total_seconds(), 0), 3),
        attempts_made=whole(get("attemptsMade"), 0),
        step=text(mapping(get("error")).get("step")),
    )


def _fields(document: Document) -> dict[str, Any]:
    get = document.get
    numbers = {name: number(get(name), 0) for name in ("priority", "attempts", "timeout") if get(name) is not None}
    texts = {"queue": text(get("queue")), "schedule": text(get("schedule")), "batchId": id_or_none(get("batchId"))}
    return {**texts, **numbers}


def _run(entry: Document) -> Run:
    start_at = date_or_none(entry.get("startAt"))
    return Run(start_at=start_at, worker=text(entry.get("worker")), version=text(entry.get("version")))
