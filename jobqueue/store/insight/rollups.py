"""The activity of jobs by minute and hour: read from the jobs, and kept in collections of its own.

A minute is one document whose id is its beginning: a second process that writes it changes nothing. All reads for a
minute see the database as it was at one moment.
"""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.insight.activity import (
    Activity,
    Parts,
    Starts,
    Tally,
    activity_at,
    are_same,
    by_hour,
    condensed,
    total,
)
from jobqueue.lru_cache import LruCache
from jobqueue.store.insight import activity_statements
from jobqueue.store.insight.activity_statements import within as _within
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import (
    AsyncClientSession,
    AsyncCollection,
    OperationFailure,
    ReadConcern,
    UpdateOne,
    aggregate,
)
from jobqueue.store.mongo.odd_values import date_or_none, entries, mapping, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.insight.activity_statements import Source
    from jobqueue.store.mongo.database import Database

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
SECOND_LOOK: Final = timedelta(minutes=15)
"""Time after its end at which a minute is counted again, for late changes."""
FURTHEST: Final = timedelta(days=8)
"""Age of the activity that is counted, where nothing has been counted yet."""
_HOUR_MS: Final = 3_600_000
MOST_KEYS: Final = 2000
"""Pairs of queue and type that one document tells apart."""
_NEWEST: Final = "newest"
_AT_ONCE: Final = 20_000
TRIES: Final = 5
"""Readings at one moment that may fail before a transaction reads."""
_AGAIN_SECONDS: Final = 0.05
_RECENT_SECONDS: Final = 2.0
"""Seconds after which hours that were read are forgotten: a page needs them at once."""
FEW: Final = 4_000
"""Pairs of queue and type in all hours that were read, up to which they take some megabytes, and are kept longer."""
_LONG_SECONDS: Final = 600.0
"""Seconds after which few hours that were read are forgotten."""
_MOST_TOTALS: Final = 2
"""Sums of hours that are kept: those of a day and of a week."""
_TOO_OLD: Final = frozenset({239, 246})
"""SnapshotTooOld and SnapshotUnavailable."""


class RollupStore:
    """Counts activity, and keeps the counts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs = database.collection("jobs")
        self.minutes = database.collection("statMinutes")
        self.hours = database.collection("statHours")
        self._recent: dict[datetime, Tally] = {}
        self._forgetting: asyncio.TimerHandle | None = None
        self._keeps_long = False
        self._totals: LruCache[tuple[datetime, datetime], tuple[Parts, Tally]] = LruCache(_MOST_TOTALS)
        self._reading_hours = asyncio.Lock()

    @guarded
    async def read(
        self, since: datetime, until: datetime, *, with_running: bool = False
    ) -> tuple[dict[datetime, Tally], Tally]:
        """Count the activity in a span of whole minutes, by minute; the last minute may go on.

        Returns:
            The minutes with activity; and, if asked for, the attempts that go on, as starts.
        """
        sources = activity_statements.sources(since, until, with_running=with_running)
        minutes: dict[datetime, Tally] = {}
        present: Tally = {}
        for row in await self._at_one_moment(sources):
            label = row["label"]
            _count(present if label == "running" else minutes.setdefault(row["_id"]["m"], {}), label, row)
        return minutes, present

    async def _at_one_moment(self, sources: Sequence[Source]) -> list[Document]:
        """Return the groups of all sources in the database as it was at one moment, each with the name of its source.

        A transaction of a dead process blocks changes of indexes for up to a minute. So it is only for servers that
        cannot keep the moment long enough otherwise.
        """
        still = self._jobs.with_options(read_concern=ReadConcern("snapshot"))
        pipeline = activity_statements.united(sources)
        for _ in range(TRIES):
            try:
                return [row async for row in await aggregate(still, pipeline, batchSize=_AT_ONCE)]
            except OperationFailure as error:
                if error.code not in _TOO_OLD:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)
        return await self._database.in_transaction(functools.partial(self._one_by_one, sources), level="snapshot")

    async def _one_by_one(self, sources: Sequence[Source], session: AsyncClientSession) -> list[Document]:
        """Return the groups of all sources; a transaction refuses the union of pipelines, but not their succession."""
        rows: list[Document] = []
        for source in sources:
            collection = self._database.collection(source.collection)
            groups = await aggregate(collection, source.pipeline, session=session, batchSize=_AT_ONCE)
            rows += [row | {"label": source.label} async for row in groups]
        return rows

    @guarded
    async def newest(self) -> datetime | None:
        """Return the last minute that is kept, or ``None``; all of its hour before it are kept, too."""
        return await _first(self.minutes, -1)

    @guarded
    async def open_hours(self, since: datetime, until: datetime) -> list[datetime]:
        """Return the hours of a span whose activity is not summed up yet, the newest first.

        There is no activity before the first job and the first kept minute.
        """
        begins = [date for date in (await self.oldest_job(), await self.oldest()) if date is not None]
        if not begins:
            return []
        hour = max(hour_of(min(begins)), since)
        kept = {document["_id"] async for document in self.hours.find({"_id": _within(hour, until)}, {"_id": 1})}
        hours = []
        while hour < until:
            if hour not in kept:
                hours.append(hour)
            hour += HOUR
        return hours[::-1]

    @guarded
    async def oldest_job(self) -> datetime | None:
        """Return the creation of the oldest job."""
        dated = {"insertAt": {"$gt": EPOCH}, "state": {"$exists": True}}
        job = await self._jobs.find_one(dated, {"insertAt": 1}, sort=[("insertAt", 1)], hint=_NEWEST)
        return None if job is None else job["insertAt"]

    @guarded
    async def unchecked(self, since: datetime, until: datetime) -> datetime | None:
        """Return the first minute of a span that was counted only once, if there is one."""
        return await _first(self.minutes, 1, {"_id": _within(since, until), "checked": False})

    @guarded
    async def counted_for_good(self, now: datetime) -> datetime | None:
        """Return the date before which all activity is counted for good; ``None`` if nothing is counted yet."""
        newest = await self.newest()
        if newest is None:
            return None
        present = present_hour(now)
        once = await self.unchecked(present, newest + MINUTE)
        ends = [newest + MINUTE if once is None else once, *(await self.open_hours(hour_of(now - FURTHEST), present))]
        return min(ends)

    @guarded
    async def minutes_of(self, hour: datetime) -> tuple[int, int]:
        """Return how many minutes of an hour are kept, and how many of them were counted for good."""
        query = {"_id": _within(hour, hour + HOUR)}
        checked = [document.get("checked") is True async for document in self.minutes.find(query, {"checked": 1})]
        return len(checked), sum(checked)

    @guarded
    async def forget_ahead(self) -> bool:
        """Delete minutes and hours that end after the present: the server's clock was set back, and they come again.

        Returns:
            True if there were some.
        """
        present = self._database.clock.present
        self._recent.clear()
        await self.hours.delete_many({"$expr": {"$gt": [{"$add": ["$_id", _HOUR_MS]}, present]}})
        return bool((await self.minutes.delete_many({"$expr": {"$gt": ["$_id", present]}})).deleted_count)

    @guarded
    async def keep(self, since: datetime, until: datetime, tallies: Mapping[datetime, Tally], *, checked: bool) -> None:
        """Keep the minutes of a span; only its second counting replaces a kept minute."""
        writes: list[UpdateOne] = []
        minute = since
        while minute < until:
            document = {"checked": checked, "cells": _cells(tallies.get(minute, {}))}
            first = UpdateOne({"_id": minute}, {"$setOnInsert": document}, upsert=True)
            if checked:
                # Once only: a late process may find less, as retention deletes jobs that are counted for good.
                writes.append(UpdateOne({"_id": minute, "checked": False}, {"$set": document}))
            writes.append(first)
            minute += MINUTE
        await self.minutes.bulk_write(writes)

    @guarded
    async def oldest(self) -> datetime | None:
        """Return the first minute that is kept, or ``None``."""
        return await _first(self.minutes, 1)

    @guarded
    async def keep_hour(self, hour: datetime, tally: Tally | None = None) -> None:
        """Keep the activity of an hour, unless it is kept already; ``None`` adds up its minutes."""
        document = {"cells": _cells(by_hour(await self.tally(hour, hour + HOUR) if tally is None else tally))}
        await self.hours.update_one({"_id": hour}, {"$setOnInsert": document}, upsert=True)

    @guarded
    async def tally(self, since: datetime, until: datetime, *, hours: bool = False) -> Tally:
        """Return the sum of the kept minutes, or hours, of a span."""
        parts = await self.parts(since, until, hours=hours)
        if not hours:
            return total(part for _, part in parts)
        before, known = self._totals.get((since, until)) or ([], {})
        if not are_same(before, parts):
            known = total(part for _, part in parts)
            self._totals.keep((since, until), (parts, known))
        return total([known])

    @guarded
    async def parts(self, since: datetime, until: datetime, *, hours: bool = False) -> list[tuple[datetime, Tally]]:
        """Return the kept minutes, or hours, of a span, each with its beginning; nobody may change the tallies."""
        if not hours:
            return [part async for part in _parts(self.minutes, since, until)]
        async with self._reading_hours:
            return await self._recent_hours(since, until)

    async def _recent_hours(self, since: datetime, until: datetime) -> list[tuple[datetime, Tally]]:
        """Return hours: a page asks for the same ones several times at once. A kept hour never changes."""
        wanted = [hour for number in range(ceil((until - since) / HOUR)) if (hour := since + number * HOUR) < until]
        found = {hour: self._recent[hour] for hour in wanted if hour in self._recent}
        missing = [hour for hour in wanted if hour not in found]
        if missing:
            read = {hour: part async for hour, part in _parts(self.hours, missing[0], missing[-1] + HOUR)}
            found |= read
            self._recent |= read
            self._forget_soon()
        return sorted(found.items(), key=lambda part: part[0])

    def _forget_soon(self) -> None:
        are_few = sum(map(len, self._recent.values())) <= FEW
        if self._forgetting is None or (not are_few and self._keeps_long):
            if self._forgetting is not None:
                self._forgetting.cancel()
            pause = _LONG_SECONDS if are_few else _RECENT_SECONDS
            self._forgetting, self._keeps_long = asyncio.get_running_loop().call_later(pause, self._forget), are_few

    def _forget(self) -> None:
        self._recent.clear()
        self._totals.clear()
        self._forgetting = None

    @guarded
    async def prune(self, minutes_until: datetime, hours_until: datetime) -> None:
        """Delete older minutes and hours."""
        await self.minutes.delete_many({"_id": {"$lt": minutes_until}})
        await self.hours.delete_many({"_id": {"$lt": hours_until}})


async def _parts(
    collection: AsyncCollection[Any], since: datetime, until: datetime
) -> AsyncIterator[tuple[datetime, Tally]]:
    async for document in collection.find({"_id": _within(since, until)}):
        yield document["_id"], _tally(document.get("cells"))


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of the minute of a moment."""
    return moment.replace(second=0, microsecond=0)


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour of a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)


def present_hour(now: datetime) -> datetime:
    """Return the hour from which on activity is counted by the minute; hours before it can be summed up."""
    return hour_of(now - SECOND_LOOK)


async def _first(collection: AsyncCollection[Any], direction: int, query: Document | None = None) -> datetime | None:
    """Return the first date in a direction."""
    document = await collection.find_one(query or {}, {"_id": 1}, sort=[("_id", direction)])
    return None if document is None else document["_id"]


def _count(tally: Tally, label: str, row: Mapping[str, Any]) -> None:
    """Add one group; documents that another tool has spoilt are no jobs."""
    group, count = row["_id"], int(row["n"])
    queue, kind = group.get("q"), group.get("t")
    if type(queue) is not str or type(kind) is not str:
        return
    activity = activity_at(tally, (queue, kind))
    if label == "added":
        activity.added += count
    elif label == "killed":
        activity.ended[State.KILLED.value] += count
    else:
        _count_attempts(activity, group, count)


def _count_attempts(activity: Activity, group: Mapping[str, Any], count: int) -> None:
    starts = activity.starts_at(group["s"])
    starts.count += count
    if group.get("w") is not None:
        starts.waits[int(group["w"])] += count
    if group.get("o") in set(Outcome):
        activity.attempts[group["o"]] += count
    if group.get("f") is not None:
        activity.ended[group["f"]] += count
    if group.get("r") is not None:
        activity.runs[int(group["r"])] += count


def _cells(tally: Tally) -> list[Document]:
    return [
        {
            "queue": queue,
            "type": kind,
            "added": activity.added,
            "attempts": dict(activity.attempts),
            "ended": dict(activity.ended),
            "starts": [
                {"at": minute, "count": starts.count, "waits": _texts(starts.waits)}
                for minute, starts in activity.starts.items()
            ],
            "runs": _texts(activity.runs),
        }
        for (queue, kind), activity in condensed(tally, MOST_KEYS).items()
    ]


def _tally(cells: Any) -> Tally:
    """Return the numbers of a document; what another tool has spoilt counts as nothing."""
    tally: Tally = {}
    for cell in map(mapping, entries(cells)):
        queue, kind = cell.get("queue"), cell.get("type")
        if type(queue) is str and type(kind) is str:
            tally[queue, kind] = Activity(
                added=whole(cell.get("added"), 0),
                attempts=_counts(cell.get("attempts")),
                ended=_counts(cell.get("ended")),
                starts={
                    row["at"]: Starts(count=whole(row.get("count"), 0), waits=_numbers(row.get("waits")))
                    for row in map(mapping, entries(cell.get("starts")))
                    if date_or_none(row.get("at"))
                },
                runs=_numbers(cell.get("runs")),
            )
    return tally


def _counts(stored: object) -> Counter[str]:
    # Hundreds of them make a page: a loop is half the time of an iterable for the counter.
    counts: Counter[str] = Counter()
    for name, count in mapping(stored).items():
        counts[name] = whole(count, 0)
    return counts


def _texts(counts: Mapping[int, int]) -> dict[str, int]:
    return {str(number): count for number, count in sorted(counts.items())}


def _numbers(stored: object) -> Counter[int]:
    counts: Counter[int] = Counter()
    for number, count in mapping(stored).items():
        if number.isdecimal():
            counts[int(number)] = whole(count, 0)
    return counts
