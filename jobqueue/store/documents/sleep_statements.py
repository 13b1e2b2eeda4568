"""Updates of steps that other updates of jobs are made of, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.steps.step import StepKind

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


def as_promoted(now: str | datetime) -> Document:
    """Return the steps of a job that begins to run: a process of an older version may have promoted it, with its wait.

    Then the sleeps whose time is over finish now.
    """
    waits = {"$eq": [{"$type": "$wait"}, "object"]}
    return {"steps": {"$cond": [waits, woken(now), "$steps"]}, "wait": "$$REMOVE"}


def kept(forgotten: Collection[str] | None) -> Document | str:
    """Return the steps that a requeue keeps: finished steps, steps in doubt, and steps that await children.

    Failed children of a step that is kept run again when the job asks for them. ``None`` forgets all steps.
    """
    if forgotten is None:
        return "$$REMOVE"
    is_finished = {"$eq": [{"$type": "$$this.endAt"}, "date"]}
    has_children = {"$eq": [{"$type": "$$this.call.id"}, "objectId"]}
    is_marked = {"$eq": [{"$type": "$$this.once"}, "string"]}
    is_kept = {
        "$and": [
            {"$or": [is_finished, has_children, is_marked]},
            {"$not": [{"$in": ["$$this.name", {"$literal": list(forgotten)}]}]},
        ]
    }
    again = {"$mergeObjects": ["$$this", {"call": {"$mergeObjects": ["$$this.call", {"again": True}]}}]}
    asked = {"$cond": [{"$or": [is_finished, {"$not": [has_children]}]}, "$$this", again]}
    remembered = {"$map": {"input": {"$filter": {"input": "$steps", "cond": is_kept}}, "in": asked}}
    return {"$cond": [{"$isArray": "$steps"}, remembered, "$$REMOVE"]}
