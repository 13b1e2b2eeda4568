"""The time of the database's server, known in this process without a question each time."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.errors import DatabaseError
from jobqueue.store.mongo.driver import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

Now = str | datetime
SERVER_NOW: Final = "$$NOW"
_SET_BACK: Final = 2
_SHORTEST_MS: Final = 5_000
_RESYNC_SECONDS: Final = 10.0
_SLIGHT: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_GOOD_SECONDS: Final = 0.02
_TRIES: Final = 5
EPOCH: Final = datetime.fromtimestamp(0, UTC)


def is_over(until: Any, length: Any, now: Now = SERVER_NOW) -> dict[str, Any]:
    """Return the expression for the end of a lease: it has come, or lies further ahead than the lease is long.

    An end so far ahead shows that the server's clock was set back. Nobody waits for such an end. Twice the length is
    the measure, and five seconds at least: the clocks of two primaries may differ a little.

    Args:
        until: the end, as an expression.
        length: milliseconds from a renewal to the end, as an expression.
        now: the present.
    """
    furthest = {"$add": [now, {"$max": [_SHORTEST_MS, {"$multiply": [_SET_BACK, length]}]}]}
    return {"$or": [{"$lte": [until, now]}, {"$gt": [until, furthest]}]}


def lasts(until: datetime | None, length: timedelta, now: datetime) -> bool:
    """Tell whether a lease lasts, as `is_over`."""
    longest = max(timedelta(milliseconds=_SHORTEST_MS), _SET_BACK * length)
    return until is not None and now < until <= now + longest


def steady() -> float:
    """Return seconds of a clock that nobody can set, and that goes on while this host is suspended.

    A system without such a clock has one that stands still meanwhile.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """An answer of the server.

    The answer may have been on its way all the time that the question took. So a reading is a little behind the
    server's time and never ahead of it: no job starts before it was added.

    Attributes:
        told: the time that the server told.
        took: seconds from the question to the answer.
        at: the arrival of the answer, by the steady clock.
    """

    told: datetime
    took: float
    at: float

    def carried_on(self, at: float) -> datetime:
        return self.told + timedelta(seconds=at - self.at)


class ServerClock:
    """The server's time, carried on by a clock of this host that nobody can set.

    The wall clock of the host does not count: a wrong one can neither start a job early nor delay it. A new reading
    that differs by little does not turn the time back, so that the jobs that one process adds keep their order.

    Attributes:
        present: the present in statements: the time of the server that runs them, or a fixed date in tests.
    """

    def __init__(self, hello: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self.present: Now = SERVER_NOW
        self._hello = hello
        self._known: _Reading | None = None
        self._lock = asyncio.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)
        self._count = itertools.count()

    async def now(self) -> datetime:
        """Return the server's time; a reading older than ten seconds is replaced."""
        return self.present if isinstance(self.present, datetime) else await self._server_time()

    async def _server_time(self) -> datetime:
        known = self._fresh()
        if known is None:
            async with self._lock:
                known = self._fresh() or await self._read_well()
        moment = _to_millisecond(known.carried_on(steady()))
        if moment < self._last <= moment + _SLIGHT:
            moment = self._last
        self._last = moment
        return moment

    async def ask(self) -> datetime:
        """Return the server's answer: a time later than all that happened before this call."""
        reading = await self._read()
        # A known time outside of the span of the answer shows that the server's clock was set, that there is another
        # primary, or that the last reading was on its way for long.
        latest = reading.told + timedelta(seconds=reading.took) + _MILLISECOND
        if self._known is None or not reading.told <= self._known.carried_on(reading.at) <= latest:
            self._known = reading
        return reading.told

    async def new_id(self) -> ObjectId:
        """Return a fresh id; later ids are greater but for the time of an answer, whatever the hosts' clocks say."""
        seconds, rest = divmod((await self._server_time() - EPOCH) // _MILLISECOND, 1000)
        count = (next(self._count) & 0xFFFFFF).to_bytes(3, "big")
        return ObjectId(struct.pack(">IH", seconds, rest) + count + secrets.token_bytes(3))

    def _fresh(self) -> _Reading | None:
        is_fresh = self._known is not None and steady() - self._known.at <= _RESYNC_SECONDS
        return self._known if is_fresh else None

    async def _read_well(self) -> _Reading:
        """Read the time; repeat the question if the answer took long, as it may be that old."""
        best = await self._read()
        for _ in range(_TRIES - 1):
            if best.took <= _GOOD_SECONDS:
                break
            try:
                before, another = best, await self._read()
            except (PyMongoError, DatabaseError):
                # One answer is enough.
                break
            best = min(best, another, key=lambda reading: reading.took)
            if another.took > before.took / 2:
                # The way is that long.
                break
        if self._known is None or self._known.at < best.at:
            self._known = best
        return best

    async def _read(self) -> _Reading:
        sent = steady()
        hello = await self._hello()
        at = steady()
        return _Reading(told=hello["localTime"].replace(tzinfo=UTC), took=at - sent, at=at)


def _to_millisecond(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
