"""Filters and expressions about jobs that run alone, because workers died too often while these ran beside others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.jobs.crash import SUSPECT_FROM
from jobqueue.domain.jobs.states import State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SUSPECT: Final[dict[str, Any]] = {"crashes": {"$gte": SUSPECT_FROM}}
"""Match jobs that have to run alone."""
NO_SUSPECT: Final[dict[str, Any]] = {"crashes": {"$not": SUSPECT["crashes"]}}
"""Match all other jobs."""
_PROCESSING: Final[dict[str, Any]] = {"state": State.PROCESSING.value}


def allowed(*, suspects: bool) -> dict[str, Any]:
    """Match what a worker may claim: all jobs, or only those that may run beside a job that runs alone."""
    return {} if suspects else NO_SUSPECT


def alone(worker: str) -> str:
    """Return the slot of the one job of a queue that runs alone on a worker."""
    return f"alone:{worker}"


def slots(worker: str, limits: Sequence[str]) -> dict[str, Any]:
    """Return the slots of a job that is being claimed; a job that runs alone takes the worker's place for that.

    Args:
        worker: who claims.
        limits: the places in the limits of the queue that the job takes.
    """
    has_to = {"$and": [{"$isNumber": "$crashes"}, {"$gte": ["$crashes", SUSPECT_FROM]}]}
    usual = {"$literal": list(limits)} if limits else "$$REMOVE"
    return {"$cond": [has_to, {"$literal": [*limits, alone(worker)]}, usual]}


def running() -> dict[str, Any]:
    """Match the running jobs that have to run alone."""
    return _PROCESSING | SUSPECT


def others(worker: str, token: str) -> dict[str, Any]:
    """Match the running jobs of a worker that have to run alone, but for one claim."""
    return running() | {"claim.worker": worker, "claim.token": {"$ne": token}}


def beside(workers: Collection[str]) -> dict[str, Any]:
    """Match the running jobs of some workers."""
    return _PROCESSING | {"claim.worker": {"$in": sorted(workers)}}
