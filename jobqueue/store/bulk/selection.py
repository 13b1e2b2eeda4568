"""Which jobs an operation is about: what its filter, its scope and the moment it began leave, in one order."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.bulk.operation import Action
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.filters import compile_filter, conjuncts
from jobqueue.store.bulk import failure_statements
from jobqueue.store.documents import scope_filters, statements
from jobqueue.store.search import filters

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.bulk.operation import NewOperation, Operation
    from jobqueue.store.documents.statements import Document

ORDER: Final = [("insertAt", 1), ("_id", 1)]
"""Neither ever changes: so each job has its turn once, in the order in which they came."""


AHEAD: Final = timedelta(seconds=1)
"""What is dated later than the present by more than this was dated so by another tool: this package never does."""


def selected(new: NewOperation, began: datetime, *, soon: datetime | None = None, ahead: bool = False) -> Document:
    """Match the jobs of an operation that began at a moment.

    A job that is started again by it and fails once more has not ended before it began: it is left alone.

    Args:
        new: the operation.
        began: its beginning; of what is added or ends later, it knows nothing.
        soon: a time after the present by `AHEAD`. What is dated later has not come since the beginning.
        ahead: match jobs that were added after ``soon``, as they say, in place of those from before the beginning.
    """
    found: Document = {
        "state": {"$in": sorted(state.value for state in new.states)},
        "insertAt": {"$gt": soon} if ahead else {"$gte": filters.FIRST_DATE, "$lte": began},
    }
    if new.fingerprint is not None:
        found["fingerprint"] = new.fingerprint
    clauses = [filters.document(part) for part in conjuncts(compile_filter(dict(new.filter)))]
    if new.action is Action.REQUEUE:
        later = [] if soon is None else [{"endAt": {"$gt": soon}}]
        clauses.append({"$or": [{"endAt": None}, {"endAt": {"$lte": began}}, *later]})
    if clauses:
        found["$and"] = clauses
    return scope_filters.within(found, new.scope)


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


def chosen(operation: Operation, job_id: str) -> Document:
    """Match a job that an operation has chosen if it is still what that is about."""
    found = selected(operation.new, operation.insert_at, soon=operation.soon)
    # The date was looked at when the job was chosen, and does not change.
    del found["insertAt"]
    if operation.new.action is Action.DELETE:
        # A waiting job is killed first, which may be all that was done before a crash.
        begun = {"state": State.KILLED.value, statements.OPERATIONS: ObjectId(operation.id)}
        found = {"$or": [found, begun]}
    return found | {"_id": ObjectId(job_id)}


def hint(new: NewOperation) -> str | None:
    """Return the index that gives the order, where the server might prefer to sort."""
    return None if new.fingerprint is None else failure_statements.INDEX
