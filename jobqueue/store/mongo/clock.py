"""The time of the database's server, known in this process without asking for it each time."""

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
from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_RESYNC_SECONDS: Final = 10.0
_SLIGHT: Final = timedelta(seconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_GOOD_SECONDS: Final = 0.02
_TRIES: Final = 5
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


def steady() -> float:
    """Return seconds of a clock of this host that nobody can set, and that goes on while the host is suspended.

    Where the system has no such clock it is one that stands still meanwhile.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What the server said, how many seconds asking took, and when that was over.

    The answer may have been on its way all the time that it took: so this is a little behind the server's time, never
    ahead of it, and no job is said to have started before it was added.
    """

    told: datetime
    took: float
    at: float

    def carried_on(self, at: float) -> datetime:
        return self.told + timedelta(seconds=at - self.at)


class ServerClock:
    """The server's time, carried on by a clock of this host that nobody can set.

    The wall clock of the host is never asked: a wrong one can neither start a job early nor delay it. A new reading
    that differs by little does not turn the time back, so that what one process adds keeps its order.
    """

    def __init__(self, hello: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self._hello = hello
        self._known: _Reading | None = None
        self._lock = asyncio.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)
        self._count = itertools.count()

    async def now(self) -> datetime:
        """Return the server's time, read anew when the last reading is older than ten seconds."""
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
        """Return the time that the server says it is, after all that has happened before this is called."""
        reading = await self._read()
        # Anything between what it said and the time its answer took may be true; what is not shows that its clock was
        # set, that there is another primary, or that the last reading was on its way for long.
        latest = reading.told + timedelta(seconds=reading.took) + _MILLISECOND
        if self._known is None or not reading.told <= self._known.carried_on(reading.at) <= latest:
            self._known = reading
        return reading.told

    async def new_id(self) -> ObjectId:
        """Return a fresh id; later ones are greater but for the time of an answer, whatever the hosts' clocks say."""
        seconds, rest = divmod((await self.now() - _EPOCH) // _MILLISECOND, 1000)
        count = (next(self._count) & 0xFFFFFF).to_bytes(3, "big")
        return ObjectId(struct.pack(">IH", seconds, rest) + count + secrets.token_bytes(3))

    def _fresh(self) -> _Reading | None:
        known = self._known
        return known if known is not None and steady() - known.at <= _RESYNC_SECONDS else None

    async def _read_well(self) -> _Reading:
        """Read the time; again if the answer took so long that nobody knows what became of the time meanwhile."""
        best = await self._read()
        for _ in range(_TRIES - 1):
            if best.took <= _GOOD_SECONDS:
                break
            try:
                before, another = best, await self._read()
            except PyMongoError:
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
