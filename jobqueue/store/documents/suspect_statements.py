"""Filters and expressions about suspects: jobs that run alone, as workers died too often while they ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.crash import SUSPECT_FROM
from jobqueue.domain.attempts.states import State

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

SUSPECT: Final[dict[str, Any]] = {"crashes": {"$gte": SUSPECT_FROM}}
"""Match suspects."""
NO_SUSPECT: Final[dict[str, Any]] = {"crashes": {"$not": SUSPECT["crashes"]}}
"""Match all other jobs."""
_PROCESSING: Final[dict[str, Any]] = {"state": State.PROCESSING.value}


def allowed(*, suspects: bool) -> dict[str, Any]:
    """Match the jobs that a worker may claim: all, or all but suspects."""
    return {} if suspects else NO_SUSPECT


def alone(worker: str) -> str:
    """Return the slot of the only suspect of a queue on a worker."""
    return f"alone:{worker}"


def slots(worker: str, limits: Sequence[str]) -> dict[str, Any]:
    """Return the slots of a claimed job: those of its queue's limits, and for a suspect that of the worker."""
    has_to = {"$and": [{"$isNumber": "$crashes"}, {"$gte": ["$crashes", SUSPECT_FROM]}]}
    usual = {"$literal": list(limits)} if limits else "$$REMOVE"
    return {"$cond": [has_to, {"$literal": [*limits, alone(worker)]}, usual]}


def running() -> dict[str, Any]:
    """Match the running suspects."""
    return _PROCESSING | SUSPECT


def others(worker: str, token: str) -> dict[str, Any]:
    """Match the running suspects of a worker under other claims than one."""
    return running() | {"claim.worker": worker, "claim.token": {"$ne": token}}


def beside(workers: Collection[str]) -> dict[str, Any]:
    """Match the running jobs of some workers."""
    return _PROCESSING | {"claim.worker": {"$in": sorted(workers)}}
