"""Which jobs an operation is about: what its filter, its scope and the moment it began leave, in one order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.filters import compile_filter, conjuncts
from jobqueue.domain.operation import Action
from jobqueue.store import failure_statements, filters, scoping

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.operation import NewOperation
    from jobqueue.store.statements import Document

ORDER: Final = [("insertAt", 1), ("_id", 1)]
"""Neither ever changes: so each job has its turn once, in the order in which they came."""


def selected(new: NewOperation, began: datetime) -> Document:
    """Match the jobs of an operation that began at a moment.

    A job that is started again by it and fails once more has not ended before it began: it is left alone.
    """
    found: Document = {
        "state": {"$in": sorted(state.value for state in new.states)},
        "insertAt": {"$gte": filters.FIRST_DATE, "$lte": began},
    }
    if new.fingerprint is not None:
        found["fingerprint"] = new.fingerprint
    clauses = [filters.document(part) for part in conjuncts(compile_filter(dict(new.filter)))]
    if new.action is Action.REQUEUE:
        clauses.append({"$or": [{"endAt": None}, {"endAt": {"$lte": began}}]})
    if clauses:
        found["$and"] = clauses
    return scoping.within(found, new.scope)


def beyond(found: Document, position: tuple[datetime, str] | None, edge: datetime | None = None) -> Document:
    """Return a filter for what comes after a place in the order, and not after another one."""
    inserted = dict(found["insertAt"])
    narrowed = {**found, "insertAt": inserted}
    if edge is not None:
        inserted["$lte"] = edge
    if position is not None:
        moment, job_id = position
        inserted["$gte"] = moment
        passed: Document = {"$nor": [{"insertAt": moment, "_id": {"$lte": ObjectId(job_id)}}]}
        narrowed["$and"] = [*found.get("$and", []), passed]
    return narrowed


def hint(new: NewOperation) -> str | None:
    """Return the index that gives the order, where the server might prefer to sort."""
    return None if new.fingerprint is None else failure_statements.INDEX
