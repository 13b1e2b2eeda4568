"""Filters and updates for the limits of queues, as named pure functions; ``now`` as in `statements`.

The running jobs themselves hold the slots: a unique index keeps two running jobs from the same slot. Each rate limit
has a document that lists its last grants.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.limits.limits import LONGEST_LEEWAY
from jobqueue.store.documents import statements, suspect_statements
from jobqueue.store.documents.statements import ADOPTED, Document
from jobqueue.store.limits import group_key_statements
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from jobqueue.store.documents.claim_search import ClaimSearch
    from jobqueue.store.mongo.clock import Now

GROUP_INDEX: Final = "claimGroup"
GROUP_TYPE_INDEX: Final = "claimGroupType"
_MILLISECONDS: Final = 1000
_KEPT_MS: Final = 60_000
_LONGEST_LEEWAY_MS: Final = round(LONGEST_LEEWAY.total_seconds() * _MILLISECONDS)
_FORGOTTEN_MS: Final = 86_400_000
MOST_COUNTED: Final = 1000
"""Failed attempts in a row that a circuit breaker lists one by one; of earlier attempts it knows the number."""
_NUMBER: Final[Document] = {"$cond": [{"$isNumber": "$failures"}, "$failures", 0]}
_COUNTED: Final[Sequence[Document]] = (
    {
        "$set": {
            "failures": _NUMBER,
            # Version 0.3.0 keeps only a number, which another process may still change.
            "failed": {
                "$cond": [
                    {"$and": [{"$isArray": "$failed"}, {"$gt": [_NUMBER, 0]}]},
                    {"$slice": ["$failed", {"$multiply": [-1, {"$toInt": _NUMBER}]}]},
                    [],
                ]
            },
            "openUntil": {"$ifNull": ["$openUntil", None]},
            "closedAt": {"$ifNull": ["$closedAt", None]},
            "countedTil": {"$ifNull": ["$countedTil", "$at", None]},
        }
    },
)
"""Stages that complete the fields of a breaker. A date is greater than ``None``."""


def before(deadline: datetime, queue: str, now: Now) -> Document:
    """Match nothing after a deadline.

    The condition is on the name of the queue, which begins every claim index. The server would test a bare comparison
    of two dates on each waiting job in turn.
    """
    return {"$expr": {"$eq": ["$queue", {"$cond": [{"$lte": [now, deadline]}, {"$literal": queue}, None]}]}}


def of_queue(search: ClaimSearch) -> tuple[Document, str]:
    """Return the filter for the claimable jobs of a search, and its index."""
    query = statements.claimable(search.queue, search.types, search.excluded)
    index = statements.CLAIM_INDEX if search.types is None else statements.CLAIM_TYPE_INDEX
    return query | suspect_statements.allowed(suspects=search.suspects), index


def of_group(search: ClaimSearch, key: str) -> tuple[Document, str]:
    """Return the filter for the claimable jobs of a group, and its index."""
    query, index = _grouped(search, key)
    # A person may have changed the value with a tool of MongoDB: then the job is not of this group.
    query["$and"] = [group_key_statements.agrees(key)]
    return query, index


def of_next_group(
    search: ClaimSearch, path: str, after: str | None, passed_over: Collection[str]
) -> tuple[Document, str]:
    """Return the filter for the claimable jobs of the groups after the key of one, or of all, and its index.

    It leaves out groups that are passed over, as they are at their limit.
    """
    first, beyond = bounds(path)
    keys: Document = {"$gt": after} if after is not None else {"$gte": first}
    keys["$lt"] = beyond
    if passed_over:
        keys["$nin"] = sorted(passed_over)
    return _grouped(search, keys)


def bounds(path: str) -> tuple[str, str]:
    """Return the least key of a path, and the least key beyond all of its keys."""
    return f"{path}=", f"{path}>"


def grant(queue: str, limit: int, window_ms: int, leeway_ms: int, now: Now) -> list[Document]:
    """Grant a start if fewer than ``limit`` grants may have led to a start within the window.

    The list holds the deadlines of the grants, so that each grant counts for as long as its own start may be late: its
    leeway. Window and leeway are in milliseconds.
    """
    # Deadlines further ahead are from before the server's clock was set back: so they end with the next window.
    deadlines = {"$map": {"input": array("$grants"), "in": {"$min": ["$$this", {"$add": [now, _LONGEST_LEEWAY_MS]}]}}}
    young = {"$filter": {"input": deadlines, "cond": {"$gt": [{"$add": ["$$this", window_ms]}, now]}}}
    return [
        {"$set": {"queue": {"$literal": queue}, "at": now, "grants": young}},
        {"$set": {"granted": {"$lt": [{"$size": "$grants"}, limit]}}},
        {
            "$set": {
                "grants": {
                    "$cond": ["$granted", {"$concatArrays": ["$grants", [{"$add": ["$at", leeway_ms]}]]}, "$grants"]
                },
                "expireAt": {"$add": ["$at", window_ms + leeway_ms + _KEPT_MS]},
            }
        },
    ]


def give_back(deadline: datetime) -> list[Document]:
    """Take back one grant with a deadline; two grants with the same deadline are equal."""
    place: Document = {"$indexOfArray": ["$grants", deadline]}
    size: Document = {"$size": "$grants"}
    head = {"$cond": [{"$gt": ["$$place", 0]}, {"$slice": ["$grants", "$$place"]}, []]}
    tail_size = {"$subtract": [size, {"$add": ["$$place", 1]}]}
    tail = {
        "$cond": [
            {"$gt": [tail_size, 0]},
            {"$slice": ["$grants", {"$add": ["$$place", 1]}, {"$max": [1, tail_size]}]},
            [],
        ]
    }
    without = {"$cond": [{"$lt": ["$$place", 0]}, "$grants", {"$concatArrays": [head, tail]}]}
    return [{"$set": {"grants": {"$let": {"vars": {"place": place}, "in": without}}}}]


def breakers(queue: str) -> Document:
    """Match the circuit breakers of a queue."""
    return {"queue": queue, "$or": [{"failures": {"$exists": True}}, {"closedAt": {"$exists": True}}]}


def breaker_failed(
    queue: str, kind: str | None, failures: int, cooldown: float, token: str, ended_at: datetime
) -> list[Document]:
    """Count a failed attempt once; enough failures in a row open the breaker.

    Only the end of an attempt matters, not the order of the counts. An attempt that ended before the last success does
    not count. The breaker is open for ``cooldown`` seconds from the end of the last attempt. ``kind`` is the type of
    its jobs, or ``None`` for the whole queue; ``token`` and ``ended_at`` are those of the attempt.
    """
    is_new = {
        "$and": [
            {"$gt": [ended_at, "$closedAt"]},
            {"$gt": [ended_at, "$countedTil"]},
            {"$not": [{"$in": [{"$literal": token}, "$failed.token"]}]},
        ]
    }
    failure = {"token": {"$literal": token}, "at": ended_at}
    added = {"$concatArrays": [_failed("$lte", ended_at), [failure], _failed("$gt", ended_at)]}
    is_full = {"$gt": [{"$size": "$failed"}, MOST_COUNTED]}
    opens = {"$and": ["$isNew", {"$gte": ["$failures", failures]}, {"$gte": [ended_at, "$openUntil"]}]}
    opened = {"$add": [{"$last": "$failed.at"}, int(cooldown * _MILLISECONDS)]}
    return [
        {"$set": {"queue": {"$literal": queue}, "type": {"$literal": kind}, "expireAt": "$$REMOVE"}},
        *_COUNTED,
        {"$set": {"isNew": is_new}},
        {
            "$set": {
                "failed": {"$cond": ["$isNew", added, "$failed"]},
                "failures": {"$cond": ["$isNew", {"$add": ["$failures", 1]}, "$failures"]},
            }
        },
        {
            "$set": {
                "countedTil": {"$cond": [is_full, {"$first": "$failed.at"}, "$countedTil"]},
                "failed": {"$cond": [is_full, {"$slice": ["$failed", -MOST_COUNTED]}, "$failed"]},
                "openUntil": {"$cond": [opens, opened, "$openUntil"]},
            }
        },
        {"$unset": "isNew"},
    ]


def breaker_behind(name: str, ended_at: datetime) -> Document:
    """Match a breaker that has to count a success: it has counted failures, or knows only of earlier successes.

    Without failures a success within a second of the last one changes nothing.
    """
    since = {"closedAt": {"$lt": ended_at - timedelta(seconds=1)}}
    return {"_id": name, "$or": [{"failures": {"$gt": 0}}, since]}


def breaker_succeeded(failures: int, ended_at: datetime) -> list[Document]:
    """Drop the failures that ended before a success, and close the breaker if too few are left."""
    # Failures without an entry have one known date: the end of the last of them.
    uncounted = {"$subtract": ["$failures", {"$size": "$failed"}]}
    later = {"$cond": [{"$gt": ["$countedTil", ended_at]}, uncounted, 0]}
    return [
        *_COUNTED,
        {
            "$set": {
                "failed": _failed("$gt", ended_at),
                "failures": {"$add": [later, {"$size": _failed("$gt", ended_at)}]},
                "closedAt": {"$max": ["$closedAt", ended_at]},
                "wasOpen": {"$gt": ["$openUntil", None]},
            }
        },
        {"$set": {"openUntil": {"$cond": [{"$gte": ["$failures", failures]}, "$openUntil", None]}}},
        {"$set": {"closed": {"$and": ["$wasOpen", {"$eq": ["$openUntil", None]}]}}},
        {"$unset": "wasOpen"},
    ]


def close_breaker(now: Now, *, forget: bool) -> list[Document]:
    """Forget all failures at a person's request; an attempt that ended earlier never counts."""
    changed: Document = {"closedAt": now} | ({"expireAt": {"$add": [now, _FORGOTTEN_MS]}} if forget else {})
    return [{"$set": changed}, {"$unset": ["failures", "failed", "openUntil", "countedTil", "closed", "at"]}]


def _failed(operator: str, ended_at: datetime) -> Document:
    return {"$filter": {"input": "$failed", "cond": {operator: ["$$this.at", ended_at]}}}


def _grouped(search: ClaimSearch, key: str | Document) -> tuple[Document, str]:
    query = {"queue": search.queue, "state": State.PENDING.value, "limitKey": key, **ADOPTED}
    query |= suspect_statements.allowed(suspects=search.suspects) | statements.of_types(search.types, search.excluded)
    return query, GROUP_INDEX if search.types is None else GROUP_TYPE_INDEX


def running(queue: str) -> Document:
    """Match the running jobs of a queue."""
    return {"queue": queue, "state": State.PROCESSING.value}
