"""Updates of steps that other updates of jobs are made of, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.jobs.step import StepKind

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

Document = dict[str, Any]


def woken(now: str | datetime) -> Document:
    """Return the steps in which sleeps whose time is over have finished."""
    is_over = {
        "$and": [
            {"$eq": ["$$this.kind", StepKind.SLEEP.value]},
            {"$eq": [{"$type": "$$this.until"}, "date"]},
            {"$lte": ["$$this.until", now]},
            {"$ne": [{"$type": "$$this.endAt"}, "date"]},
        ]
    }
    ended = {"$cond": [is_over, {"$mergeObjects": ["$$this", {"endAt": "$$this.until"}]}, "$$this"]}
    return {"$cond": [{"$isArray": "$steps"}, {"$map": {"input": "$steps", "in": ended}}, "$$REMOVE"]}


def kept(forgotten: Collection[str] | None) -> Document | str:
    """Return the steps that a requeue keeps, those that have finished or are in doubt; ``None`` forgets all."""
    if forgotten is None:
        return "$$REMOVE"
    is_kept = {
        "$and": [
            {"$or": [{"$eq": [{"$type": "$$this.endAt"}, "date"]}, {"$eq": [{"$type": "$$this.once"}, "string"]}]},
            {"$not": [{"$in": ["$$this.name", {"$literal": list(forgotten)}]}]},
        ]
    }
    return {"$cond": [{"$isArray": "$steps"}, {"$filter": {"input": "$steps", "cond": is_kept}}, "$$REMOVE"]}
