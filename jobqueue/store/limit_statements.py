"""Filters and updates for the limits of queues, as named pure functions; ``now`` as in `statements`.

What is in use is said by the running jobs themselves: each has its slots, and a unique index over those of running jobs
lets no two have the same one. Starts in a window are granted by a document for each limit that lists the last grants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.state import State
from jobqueue.store.statements import ADOPTED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from jobqueue.store.claims import Search
    from jobqueue.store.statements import Document, Now

GROUP_INDEX: Final = "claimGroup"
GROUP_TYPE_INDEX: Final = "claimGroupType"
_MILLISECONDS: Final = 1000
_KEPT_MS: Final = 60_000


def before(deadline: datetime, queue: str, now: Now) -> Document:
    """Match nothing once it is later than a deadline.

    Said of the queue's name, which begins every claim index: a bare comparison of two dates would be tried on each
    waiting job in turn.
    """
    return {"$expr": {"$eq": ["$queue", {"$cond": [{"$lte": [now, deadline]}, {"$literal": queue}, None]}]}}


def of_group(search: Search, key: str) -> tuple[Document, str]:
    """Return the filter that matches what may be claimed of one group, and the index for it."""
    found: Document = {"queue": search.queue, "state": State.PENDING.value, "limitKey": key, **ADOPTED}
    return found | _types(search), _index(search)


def of_next_group(search: Search, path: str, after: str | None, passed_over: Collection[str]) -> tuple[Document, str]:
    """Return the filter that matches what may be claimed of the groups after one, and the index for it.

    Args:
        search: what is wanted.
        path: by which the queue is limited.
        after: the key of the group; ``None`` for all.
        passed_over: keys of groups that are at their limit.
    """
    first, beyond = bounds(path)
    keys: Document = {"$gt": after} if after is not None else {"$gte": first}
    keys["$lt"] = beyond
    if passed_over:
        keys["$nin"] = sorted(passed_over)
    return {"queue": search.queue, "state": State.PENDING.value, "limitKey": keys, **ADOPTED} | _types(search), _index(
        search
    )


def bounds(path: str) -> tuple[str, str]:
    """Return the least key of a path, and the least one that is beyond all of its keys."""
    return f"{path}=", f"{path}>"


def grant(queue: str, limit: int, window_ms: int, leeway_ms: int, now: Now) -> list[Document]:
    """Grant a start if fewer than ``limit`` grants may have led to one within the window.

    What is kept of a grant is its deadline, so that each holds for as long as its own start may be late.

    Args:
        queue: its name.
        limit: starts in a window.
        window_ms: its length in milliseconds.
        leeway_ms: how long after this grant the start may happen, in milliseconds.
        now: the present.
    """
    young = {
        "$filter": {
            "input": {"$cond": [{"$isArray": "$grants"}, "$grants", []]},
            "cond": {"$gt": [{"$add": ["$$this", window_ms]}, now]},
        }
    }
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
    """Take back one grant with a deadline; two with the same one are as good as each other."""
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


def breaker_failed(queue: str, kind: str | None, failures: int, cooldown: float, now: Now) -> list[Document]:
    """Count a failed attempt; with enough of them in a row, open the breaker for ``cooldown`` seconds."""
    is_open = {"$gt": [{"$ifNull": ["$openUntil", None]}, now]}
    opened = {"$add": [now, int(cooldown * _MILLISECONDS)]}
    return [
        {
            "$set": {
                "queue": {"$literal": queue},
                "type": {"$literal": kind},
                "at": now,
                "failures": {"$add": [{"$ifNull": ["$failures", 0]}, 1]},
            }
        },
        {
            "$set": {
                "openUntil": {
                    "$cond": [
                        {"$and": [{"$gte": ["$failures", failures]}, {"$not": [is_open]}]},
                        opened,
                        {"$ifNull": ["$openUntil", None]},
                    ]
                }
            }
        },
    ]


def _types(search: Search) -> Document:
    types: Sequence[str] | None = search.types
    if types is not None:
        return {"type": types[0] if len(types) == 1 else {"$in": list(types)}}
    return {"type": {"$nin": list(search.excluded)}} if search.excluded else {}


def _index(search: Search) -> str:
    return GROUP_INDEX if search.types is None else GROUP_TYPE_INDEX


def running(queue: str) -> Document:
    """Match the running jobs of a queue."""
    return {"queue": queue, "state": State.PROCESSING.value}


def unkeyed(queue: str, path: str, since: datetime | None) -> Document:
    """Match waiting jobs that do not know yet in which group they count."""
    first, beyond = bounds(path)
    found: dict[str, Any] = {
        "queue": queue,
        "state": {"$in": [State.DELAYED.value, State.PENDING.value]},
        "$nor": [{"limitKey": {"$gte": first, "$lt": beyond}}],
    }
    if since is not None:
        found["insertAt"] = {"$gte": since}
    return found
