"""The `limits` collection, and the slots of running jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.limits import limits
from jobqueue.store.documents import statements
from jobqueue.store.limits import limit_statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError, ReturnDocument
from jobqueue.store.mongo.odd_values import mapping, text

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobqueue.domain.limits.limits import Breaker, Rate
    from jobqueue.store.documents.claim_search import ClaimSearch
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_BY_QUEUE: Final = "newestOfQueue"
_TRIES: Final = 5
_MILLISECONDS: Final = 1000
_UNCOUNTED: Final = {"failed": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A running job with its slots; ``key`` is the key of its group, ``step`` the step under way."""

    job_id: str
    type: str
    worker: str
    start_at: datetime | None
    step: str | None
    key: str | None
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The answer to a request for a start.

    Attributes:
        at: the time of the grant; ``None`` for a refusal.
        deadline: the latest time of the start.
        wait: seconds until the next grant.
    """

    at: datetime | None = None
    deadline: datetime | None = None
    wait: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """The state of a circuit breaker; ``type`` is ``None`` for the breaker of the whole queue."""

    type: str | None
    failures: int
    open_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """The end of an attempt: its token, and the server's time of the record."""

    token: str
    at: datetime


class LimitStore:
    """Slots, grants and circuit breakers."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("limits")
        self._jobs = database.collection("jobs")
        self.clock = database.clock

    @guarded
    async def running(self, queue: str, path: str | None) -> list[RunningJob]:
        """Return the running jobs of a queue, including jobs that were claimed without a limit."""
        fields: dict[str, Any] = {"type": 1, "slots": 1, "claim.worker": 1, "claim.step": 1, "startAt": 1}
        if path is not None:
            fields[path] = 1
        cursor = self._jobs.find(limit_statements.running(queue), fields, hint=_BY_QUEUE)
        return [
            RunningJob(
                job_id=str(document["_id"]),
                type=str(document.get("type", "")),
                worker=str((document.get("claim") or {}).get("worker", "?")),
                start_at=document.get("startAt"),
                step=text(mapping(document.get("claim")).get("step")),
                key=None if path is None else limits.limit_key(path, document.get("data"), document.get("meta")),
                slots=tuple(map(str, slots)) if isinstance(slots := document.get("slots"), list) else (),
            )
            async for document in cursor
        ]

    @guarded
    async def something_waits(self, search: ClaimSearch) -> bool:
        """Return True if there is a job for a claim."""
        query, index = limit_statements.of_queue(search)
        return await self._jobs.find_one(query, {"_id": 1}, sort=statements.CLAIM_ORDER, hint=index) is not None

    @guarded
    async def type_of_first(self, queue: str) -> str | None:
        """Return the type of the first job of a queue, whichever worker may run it."""
        document = await self._jobs.find_one(
            statements.claimable(queue, None), {"type": 1}, sort=statements.CLAIM_ORDER, hint=statements.CLAIM_INDEX
        )
        return None if document is None else str(document.get("type", ""))

    @guarded
    async def next_group(
        self, search: ClaimSearch, path: str, after: str | None, passed_over: Collection[str]
    ) -> str | None:
        """Return the key of the first group after another one that has a claimable job."""
        query, index = limit_statements.of_next_group(search, path, after, passed_over)
        first = await self._jobs.find_one(query, {"limitKey": 1}, sort=[("limitKey", 1)], hint=index)
        return None if first is None else str(first["limitKey"])

    @guarded
    async def grant(self, queue: str, key: str | None, rate: Rate, leeway: timedelta | None = None) -> Grant:
        """Grant a start within the rate, or return the time until the next grant.

        ``key`` is the key of the group; ``leeway`` is the time that the start may be late, instead of the rate's own.
        """
        # Whole milliseconds, as the deadline is stored: `give_back` compares it.
        leeway = timedelta(milliseconds=_milliseconds(rate.leeway if leeway is None else leeway))
        window = timedelta(seconds=rate.per)
        update = limit_statements.grant(
            queue, rate.limit, _milliseconds(window), _milliseconds(leeway), self.clock.present
        )
        document = await self._upsert(rate_id(queue, key), update)
        if document["granted"]:
            return Grant(at=document["at"], deadline=document["at"] + leeway)
        frees = sorted(document["grants"])[len(document["grants"]) - rate.limit] + window
        return Grant(wait=max(0.0, (frees - document["at"]).total_seconds()))

    @guarded
    async def give_back(self, queue: str, key: str | None, grant: Grant) -> None:
        """Return a grant that was certainly not used."""
        if grant.deadline is not None:
            await self.collection.update_one({"_id": rate_id(queue, key)}, limit_statements.give_back(grant.deadline))

    @guarded
    async def wait_for_start(self, queue: str, key: str | None, rate: Rate) -> float:
        """Return the seconds until the rate allows the next start."""
        document = await self.collection.find_one({"_id": rate_id(queue, key)}, {"grants": 1})
        window = timedelta(seconds=rate.per)
        now = await self.clock.now()
        deadlines = [min(at, now + limits.LONGEST_LEEWAY) for at in (document or {}).get("grants") or ()]
        young = sorted(at for at in deadlines if at + window > now)
        if len(young) < rate.limit:
            return 0
        return max(0.0, float((young[len(young) - rate.limit] + window - now).total_seconds()))

    @guarded
    async def breakers(self, queue: str) -> list[BreakerState]:
        """Return the circuit breakers of a queue that have counted a failure or a success."""
        query = {"queue": queue, "failures": {"$exists": True}}
        cursor = self.collection.find(query, _UNCOUNTED).sort("_id", 1)
        return [
            BreakerState(
                type=document.get("type"), failures=int(document["failures"]), open_until=document.get("openUntil")
            )
            async for document in cursor
        ]

    @guarded
    async def attempt_failed(self, queue: str, kind: str | None, breaker: Breaker, end: AttemptEnd) -> BreakerState:
        """Count a failed attempt once, however often it is reported; the last allowed failure opens the breaker."""
        update = limit_statements.breaker_failed(queue, kind, breaker.failures, breaker.cooldown, end.token, end.at)
        document = await self._upsert(_breaker_id(queue, kind), update)
        return BreakerState(type=kind, failures=int(document["failures"]), open_until=document["openUntil"])

    @guarded
    async def attempt_succeeded(self, queue: str, kind: str | None, breaker: Breaker, end: AttemptEnd) -> bool:
        """Begin the row of failures anew after a success; return True if that closes the breaker."""
        document = await self.collection.find_one_and_update(
            limit_statements.breaker_behind(_breaker_id(queue, kind), end.at),
            limit_statements.breaker_succeeded(breaker.failures, end.at),
            projection=_UNCOUNTED,
            return_document=ReturnDocument.AFTER,
        )
        return bool(document and document.get("closed"))

    @guarded
    async def close_breakers(self, queue: str, *, forget: bool = False) -> None:
        """Forget all failures of a queue up to now; ``forget`` drops the breakers too, after a day."""
        await self.collection.update_many(
            limit_statements.breakers(queue), limit_statements.close_breaker(self.clock.present, forget=forget)
        )

    async def _upsert(self, name: str, update: list[Document]) -> Document:
        for left in reversed(range(_TRIES)):
            try:
                return dict(
                    await self.collection.find_one_and_update(
                        {"_id": name}, update, projection=_UNCOUNTED, upsert=True, return_document=ReturnDocument.AFTER
                    )
                )
            except DuplicateKeyError:
                # Two processes ask for the first time at the same moment.
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")


def rate_id(queue: str, key: str | None) -> str:
    """Return the id of the grants of a queue, or of a group of it."""
    return f"rate|{queue}" if key is None else f"rate|{queue}|{key}"


def _breaker_id(queue: str, kind: str | None) -> str:
    return f"breaker|{queue}" if kind is None else f"breaker|{queue}|{kind}"


def _milliseconds(span: timedelta) -> int:
    return round(span.total_seconds() * _MILLISECONDS)
