"""Jobs with an invented past, and counts of it taken job by job."""

from __future__ import annotations

import math
import random
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.insight import histogram
from jobqueue.domain.insight.activity import TIMED, Activity, Starts, Tally
from jobqueue.domain.jobs.job import NewJob
from jobqueue.store.documents import documents
from jobqueue.store.insight.rollups import minute_of
from jobqueue.store.mongo.clock import ServerClock

if TYPE_CHECKING:
    from collections.abc import Iterable

_AGAIN: Final = (Outcome.FAIL, Outcome.RETRY, Outcome.HANGING, Outcome.TIMEOUT, Outcome.CRASH, Outcome.RELEASE)
_LAST: Final = {
    Outcome.SUCCESS: State.SUCCESS,
    Outcome.DIE: State.KILLED,
    Outcome.KILL: State.KILLED,
    Outcome.FAIL: State.FAILED,
    Outcome.HANGING: State.FAILED,
    Outcome.TIMEOUT: State.FAILED,
}


class FixedClock(ServerClock):
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime) -> None:
        self.moment = now

    async def now(self) -> datetime:
        """Return the time it shows."""
        return self.moment


def seeded(seed: int) -> random.Random:
    """Return the same chance for the same seed."""
    return random.Random(seed)  # noqa: S311 - no secret


def past(chance: random.Random, since: datetime, seconds: float) -> dict[str, Any]:
    """Return the document of a job that was created within a span, as the program would have left it.

    ``latest`` is the date of its last change.
    """
    document = _past(chance, since, seconds)
    dates = [entry[name] for entry in document["history"] for name in ("startAt", "endAt") if entry[name] is not None]
    return document | {"latest": max([document["insertAt"], *dates])}


def _past(chance: random.Random, since: datetime, seconds: float) -> dict[str, Any]:
    added = _ms(since + timedelta(seconds=chance.uniform(0, seconds)))
    new = NewJob(type=chance.choice(["a", "b"]), queue=chance.choice(["x", "y:z"]), priority=0, attempts=3, lease=60)
    document = documents.new_document(new, job_id=str(ObjectId()), now=added)
    moment = added
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
        ready = moment
        began = _ms(ready + timedelta(seconds=chance.expovariate(1 / 20)))
        entry: dict[str, Any] = {
            "token": secrets.token_hex(4),
            "readyAt": ready,
            "startAt": began,
            "endAt": None,
            "outcome": None,
        }
        document["history"].append(entry)
        document |= {"state": "processing", "startAt": began}
        if chance.random() < 0.1:
            return document
        moment = _ms(began + timedelta(seconds=chance.expovariate(1 / 60)))
        outcome = chance.choice(_AGAIN)
        entry |= {"endAt": moment, "outcome": outcome.value}
        document |= {"state": "pending"}
    if document["history"] and chance.random() < 0.8:
        outcome = chance.choice(list(_LAST))
        entry = document["history"][-1]
        entry["outcome"] = outcome.value
        document |= {"state": _LAST[outcome].value, "endAt": entry["endAt"]}
        if _LAST[outcome] is State.FAILED:
            entry["last"] = True
        if chance.random() < 0.2:
            moment = _ms(moment + timedelta(seconds=chance.expovariate(1 / 60)))
            document["history"].append({"token": None, "startAt": None, "endAt": moment, "outcome": "requeue"})
            document |= {"state": "pending", "endAt": None}
    elif chance.random() < 0.3:
        document |= {"state": "killed", "endAt": moment, "killedAt": [moment]}
    return document


def count(jobs: Iterable[dict[str, Any]], since: datetime, until: datetime) -> dict[datetime, Tally]:
    """Count the activity within a span by minute, job by job and attempt by attempt."""
    tallies: dict[datetime, Tally] = {}

    def at(moment: datetime, job: dict[str, Any]) -> Activity:
        return tallies.setdefault(minute_of(moment), {}).setdefault((job["queue"], job["type"]), Activity())

    for job in jobs:
        if since <= job["insertAt"] < until:
            at(job["insertAt"], job).added += 1
        for moment in job.get("killedAt", ()):
            if since <= moment < until:
                at(moment, job).ended["killed"] += 1
        for entry in job["history"]:
            if entry["token"] is None or entry["endAt"] is None or not since <= entry["endAt"] < until:
                continue
            activity = at(entry["endAt"], job)
            outcome = Outcome(entry["outcome"])
            activity.attempts[outcome.value] += 1
            starts = activity.starts.setdefault(minute_of(entry["startAt"]), Starts())
            starts.count += 1
            starts.waits[histogram.bucket(_lapse(entry["readyAt"], entry["startAt"]))] += 1
            if outcome in TIMED:
                activity.runs[histogram.bucket(_lapse(entry["startAt"], entry["endAt"]))] += 1
            if entry.get("last") or outcome in {Outcome.SUCCESS, Outcome.DIE, Outcome.KILL}:
                activity.ended[_LAST[outcome].value] += 1
    return tallies


def times(jobs: Iterable[dict[str, Any]], since: datetime, until: datetime) -> tuple[list[float], list[float]]:
    """Return the seconds of the waits for attempts begun in a span, and of the runs that ended in it."""
    entries = [entry for job in jobs for entry in job["history"] if entry["token"] is not None]
    begun = [entry for entry in entries if since <= entry["startAt"] < until]
    waits = [_lapse(entry["readyAt"], entry["startAt"]) / 1000 for entry in begun]
    runs = [
        _lapse(entry["startAt"], entry["endAt"]) / 1000
        for entry in entries
        if entry["endAt"] is not None and since <= entry["endAt"] < until and Outcome(entry["outcome"]) in TIMED
    ]
    return sorted(waits), sorted(runs)


def nearest_rank(ordered: list[float], part: float) -> float:
    """Return a percentile of sorted values."""
    return ordered[max(1, math.ceil(part * len(ordered))) - 1]


def outcomes(jobs: Iterable[dict[str, Any]], since: datetime, until: datetime) -> Counter[str]:
    """Return how many attempts ended in a span, by outcome."""
    return Counter(
        entry["outcome"]
        for job in jobs
        for entry in job["history"]
        if entry["token"] is not None and entry["endAt"] is not None and since <= entry["endAt"] < until
    )


def _lapse(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds() * 1000)


def _ms(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
