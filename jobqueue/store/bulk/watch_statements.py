"""Filters and updates of operations that watch their jobs, as named pure functions.

The ids of unfinished jobs are in the operation: at most `rules.MOST_AT_ONCE`. Its holder reads these jobs by their ids,
and takes those that have ended off in the update that counts them. Between two looks the lease has no token and ends at
the next look, so that no process holds the operation and only a due one is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.bulk.rules import MOST_FAILED_AGAIN, End
from jobqueue.store.bulk import erasure_statements, operation_statements
from jobqueue.store.documents import statements
from jobqueue.store.mongo.clock import EPOCH, SERVER_NOW
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from jobqueue.domain.bulk.rules import Rules
    from jobqueue.store.documents.statements import Document

_LAST: Final = "last"
_FAILURES: Final = frozenset({Outcome.FAIL, Outcome.DIE, Outcome.HANGING, Outcome.TIMEOUT, Outcome.KILL})


def seen(operation_id: str) -> Document:
    """Return the projection of a watched job: its state, and the operation of its last requeue.

    The history of a large job may lie elsewhere; then ``last`` is missing, and ``inOperations`` tells.
    """
    requeues: Document = {
        "$filter": {"input": array("$history"), "cond": {"$eq": ["$$this.outcome", Outcome.REQUEUE.value]}}
    }
    by: Document = {"$let": {"vars": {"entry": {"$last": "$$requeues"}}, "in": "$$entry.operation"}}
    own: Document = {"$cond": [{"$eq": ["$$requeues", []]}, None, {"$eq": [by, ObjectId(operation_id)]}]}
    return {
        "state": 1,
        "error.kind": 1,
        "error.message": 1,
        statements.OPERATIONS: 1,
        _LAST: {"$let": {"vars": {"requeues": requeues}, "in": own}},
    }


def is_own(document: Mapping[str, Any], operation_id: str) -> bool:
    """Tell whether a job still is in the run that an operation has begun."""
    last = document.get(_LAST)
    if last is not None:
        return bool(last)
    noted = document.get(statements.OPERATIONS)
    return isinstance(noted, list) and noted[-1:] == [ObjectId(operation_id)]


def end_of_run(history: Sequence[Any], operation_id: str) -> End:
    """Return the end of the run that an operation has begun and somebody else's requeue has followed."""
    entries = [entry for entry in history if isinstance(entry, dict)]
    outcome = None
    is_in_run = False
    for entry in entries:
        if entry.get("outcome") == Outcome.REQUEUE:
            is_in_run = entry.get("operation") == ObjectId(operation_id)
        elif is_in_run:
            outcome = entry.get("outcome")
    if outcome == Outcome.SUCCESS:
        return End.SUCCEEDED
    return End.FAILED if outcome in _FAILURES else End.UNKNOWN


def settle(ends: Mapping[str, End], failures: Sequence[Mapping[str, str]]) -> list[Document]:
    """Count watched jobs that have ended, and take them off.

    Args:
        ends: by the ids of the jobs.
        failures: those that failed again, with their errors.
    """
    ended: Any = {"$literal": [ObjectId(job_id) for job_id in ends]}
    left = {"$filter": {"input": array("$watched"), "cond": {"$not": {"$in": ["$$this.id", ended]}}}}
    counted = {
        f"results.{end.value}": {"$add": [{"$ifNull": [f"$results.{end.value}", 0]}, list(ends.values()).count(end)]}
        for end in End
    }
    named = {"$slice": [{"$concatArrays": [array("$failedAgain"), {"$literal": list(failures)}]}, MOST_FAILED_AGAIN]}
    until = {"lease.until": {"$add": [SERVER_NOW, operation_statements.LEASE_MS]}}
    return [{"$set": {"watched": left, "failedAgain": named, "newsAt": SERVER_NOW, **counted, **until}}]


def exhaust() -> list[Document]:
    """Note that no more jobs come."""
    return [{"$set": {"exhausted": True}}]


def leave_trial() -> list[Document]:
    """Go on after the trial; the jobs of a pace a minute begin now."""
    return [{"$set": {"isTrial": False, "turnAt": None}}]


def pause(length: timedelta) -> list[Document]:
    """Release an operation until the next look at its jobs."""
    milliseconds = round(length.total_seconds() * 1000)
    return [{"$set": {"lease": {"token": None, "until": {"$add": [SERVER_NOW, milliseconds]}}}}]


def stopped(operation_id: str) -> Document:
    """Match a stopped operation that can go on: it knows which jobs it left alone, and what to do with them.

    An erasure takes the values of the filter, the changes and the patch: without them other jobs would be requeued, or
    with the data with which they failed.
    """
    known = {"left": {"$type": "array"}} | erasure_statements.NOT_ERASED
    return {"_id": ObjectId(operation_id), "state": Stage.STOPPED.value, **known}


def resume(rules: Rules, action: str, given: list[str]) -> list[Document]:
    """Go on with a stopped operation under these rules; its failures from before are forgiven.

    Args:
        rules: of the rest.
        action: the stored action, by which a process that knows no rules leaves the operation alone.
        given: the names of the fields that the operation has from then on, as `operation_documents.given`.
    """
    ruled = {name: {"$literal": value} for name, value in rules.given.items()}
    named = {name: ruled.get(name, "$$REMOVE") for name in ("trial", "then", "pace", "stopAfter")}
    results = {"$cond": [{"$eq": [{"$type": "$results"}, "object"]}, "$results", {"$literal": {}}]}
    return [
        {
            "$set": {
                **named,
                "action": action,
                "given": given,
                "watched": array("$watched"),
                "results": results,
                "state": Stage.RUNNING.value,
                "endAt": None,
                "stopped": "$$REMOVE",
                "isTrial": False,
                "turnAt": None,
                "newsAt": SERVER_NOW,
                "forgiven": {"$ifNull": ["$results.failed", 0]},
                "lease": {"token": None, "until": EPOCH},
            }
        }
    ]
