"""The jobs of an operation: those of its filter and scope from before it began, in one order."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action
from jobqueue.domain.search.filters import compile_filter, conjuncts
from jobqueue.store.bulk import erasure_statements, failure_statements
from jobqueue.store.documents import scope_filters, statements
from jobqueue.store.search import filters

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.bulk.operation import NewOperation, Operation
    from jobqueue.store.documents.statements import Document

ORDER: Final = [("insertAt", 1), ("_id", 1)]
"""Neither field ever changes: so each job has its turn once, in the order of their creation."""
AHEAD: Final = timedelta(seconds=1)
"""Jobs dated further ahead of the present come from another tool: this package never makes any."""


def selected(new: NewOperation, began: datetime, *, soon: datetime | None = None, ahead: bool = False) -> Document:
    """Match the jobs of an operation that began at a moment.

    A job that the operation requeues and that fails once more has not ended before it began: so it does not match.

    Args:
        new: the operation.
        began: its beginning; jobs that are added or end later do not match.
        soon: a time after the present by `AHEAD`. Jobs dated later have not come since the beginning.
        ahead: match jobs dated after ``soon``, in place of those from before the beginning.
    """
    search: Document = {
        "state": statements.state_in(new.states),
        "insertAt": {"$gt": soon} if ahead else {"$gte": filters.FIRST_DATE, "$lte": began},
    }
    if new.fingerprint is not None:
        search["fingerprint"] = new.fingerprint
    clauses = [filters.document(part) for part in conjuncts(compile_filter(dict(new.filter)))]
    if new.action is Action.REQUEUE:
        later = [] if soon is None else [{"endAt": {"$gt": soon}}]
        clauses.append({"$or": [{"endAt": None}, {"endAt": {"$lte": began}}, *later]})
        search |= erasure_statements.NOT_ERASED
    if clauses:
        search["$and"] = clauses
    return scope_filters.within(search, new.scope)


def beyond(search: Document, position: tuple[datetime, str] | None, edge: datetime | None = None) -> Document:
    """Return a filter narrowed to the jobs after a place in the order, and not after another one."""
    inserted = dict(search["insertAt"])
    narrowed = {**search, "insertAt": inserted}
    if edge is not None:
        inserted["$lte"] = edge
    if position is not None:
        moment, job_id = position
        inserted["$gte"] = moment
        passed: Document = {"$nor": [{"insertAt": moment, "_id": {"$lte": ObjectId(job_id)}}]}
        narrowed["$and"] = [*search.get("$and", []), passed]
    return narrowed


def chosen(operation: Operation, job_id: str) -> Document:
    """Match a chosen job if it still is one of its operation."""
    search = selected(operation.new, operation.insert_at, soon=operation.soon)
    # The date was checked when the job was chosen, and does not change.
    del search["insertAt"]
    if operation.new.action is Action.DELETE:
        # A waiting job is killed first; a crash may follow at once.
        begun = {"state": State.KILLED.value, statements.OPERATIONS: ObjectId(operation.id)}
        search = {"$or": [search, begun]}
    return search | {"_id": ObjectId(job_id)}


def hint(new: NewOperation) -> str | None:
    """Return the index that has the order, where the server might prefer to sort."""
    return None if new.fingerprint is None else failure_statements.INDEX
