"""Filters and updates that erase contents, as named pure functions; ``now`` as in `statements`.

Documents keep the fields that are listed here, and lose all others: a new field is erased until somebody lists it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.bulk.erasure import ERASED
from jobqueue.domain.steps.call import CHILD
from jobqueue.store.documents.statements import OPERATIONS, marked, state_in
from jobqueue.store.mongo.tolerant import array, number

if TYPE_CHECKING:
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

FIELD: Final = "erased"
INDEX: Final = "erased"
COUNTS: Final = ("logs", "attempts", "steps", "signals", "audit")
"""Parts of jobs that are counted: lines, entries of the history, steps, signals and entries of the audit."""
NOT_ERASED: Final[Document] = {FIELD: None}
UNFINISHED_ERASURE: Final[Document] = {"$or": [NOT_ERASED, {f"{FIELD}.isOpen": True}]}
"""Match jobs that are not erased, or not to the end."""
_KEPT_OF_JOBS: Final = (
    *("_id", "queue", "type", "state", "priority", "attempts", "attemptsMade", "backoff", "delay", "lease", "timeout"),
    *("insertAt", "startAt", "endAt", "delayTil", "resetAt", "readyAt", "schedule", "scheduledAt", "startBefore"),
    *("batchId", "parentId", "dependsOn", "dependents", "dependencyPolicy", "callbackOf", "awaitedBy", "ref"),
    *("progress", "run", "restart", "spilled", "crashes", "onSuccessDelete", "unread", "killedAt", "fingerprint"),
)
_KEPT_OF_ATTEMPTS: Final = (
    *("attempt", "worker", "version", "readyAt", "startAt", "endAt", "outcome", "code", "last", "operation"),
)
_KEPT_OF_BATCHES: Final = (
    *("_id", "insertAt", "sealed", "state", "endAt", "generation", "additions", "queues", "verdict", "restarts"),
    *("failedIn", "loudIn", "againIn"),
)
_QUIET: Final[Document] = {"message": ERASED, "details": {"$literal": {}}}
"""The fields of a message of an alert that may quote errors."""
_CONTENTS_OF_BATCHES: Final = ("onComplete", "onSuccess", "onFailure")


def begin(job_id: str, queue: str, operation: str, audited: int, now: Now) -> tuple[Document, list[Document]]:
    """Return the filter and the update that mark an ended job, which nobody can requeue or change from then on.

    The mark has the numbers of what is to be erased, so that they are known after any crash.
    """
    ended: Document = {
        "_id": ObjectId(job_id),
        "queue": queue,
        "state": state_in(FINAL),
        "outbox": {"$exists": False},
        **UNFINISHED_ERASURE,
    }
    mark: Document = {
        "at": now,
        "operation": ObjectId(operation),
        "isOpen": True,
        "logs": number("$logCount", {"$size": array("$logs")}),
        "attempts": {"$add": [{"$size": array("$history")}, number("$spilled", 0)]},
        "steps": {"$size": array("$steps")},
        "signals": {"$size": array("$signals")},
        "audit": audited,
    }
    # Jobs that fell are not revived any more: nobody can requeue what they fell with, either.
    return ended, [{"$set": {FIELD: mark}}, {"$unset": "unmet"}]


def clear(job_id: str, operation: str) -> tuple[Document, list[Document]]:
    """Return the filter and the update that leave of a marked job only what may stay."""
    open_one = {"_id": ObjectId(job_id), f"{FIELD}.operation": ObjectId(operation), f"{FIELD}.isOpen": True}
    left: Document = {
        **{name: f"${name}" for name in _KEPT_OF_JOBS},
        "data": {"$literal": {}},
        "meta": {"$literal": {}},
        "logs": [],
        "logCount": 0,
        "result": None,
        "key": None,
        "claim": None,
        **dict.fromkeys(_CONTENTS_OF_BATCHES),
        "error": _error("$error"),
        "history": {"$map": {"input": array("$history"), "in": _attempt("$$this")}},
        OPERATIONS: marked(operation),
        FIELD: {name: f"${FIELD}.{name}" for name in ("at", "operation", *COUNTS)},
    }
    return open_one, [{"$replaceWith": left}]


def of_attempts() -> list[Document]:
    """Return the update of an entry of the history that lies outside of its job."""
    return [{"$set": {"entry": {"$mergeObjects": [_attempt("$entry")]}}}]


def of_entries() -> Document:
    """Return the update of an entry of the audit."""
    return {"$set": {"before": None, "after": None, FIELD: True}}


def of_parent(call: ObjectId) -> list[Document]:
    """Return the update of an ended parent: its step with awaited children loses their results and their errors."""
    gone = ["result", "stored", "storedId"]
    rest = _but("$$this", [*gone, "error", "call"])
    reason: Document = {"kind": ERASED, "message": "the results of its children were erased"}
    step = {"$mergeObjects": [rest, {"call": _but("$$this.call", ["failure", "failedAfter"]), "error": reason}]}
    is_it = {"$eq": ["$$this.call.id", call]}
    steps = {"$map": {"input": array("$steps"), "in": {"$cond": [is_it, step, "$$this"]}}}
    told = {"$eq": ["$$this.error.kind", CHILD]}
    entry = {"$cond": [told, {"$mergeObjects": ["$$this", {"error": _error("$$this.error")}]}, "$$this"]}
    error = {"$cond": [{"$eq": ["$error.kind", CHILD]}, _error("$error"), "$error"]}
    history = {"$map": {"input": array("$history"), "in": entry}}
    return [{"$set": {"steps": steps, "error": error, "history": history}}]


def of_incident() -> list[Document]:
    """Return the update of a thing that an alert has told of; a message about it that waits is still sent."""
    body = {"$mergeObjects": ["$waiting.body", _QUIET]}
    waits = {"$eq": [{"$type": "$waiting.body"}, "object"]}
    waiting = {"$cond": [waits, {"$mergeObjects": ["$waiting", {"body": body}]}, "$waiting"]}
    return [{"$set": {"message": ERASED, "waiting": waiting}}]


def of_message(*, whole: bool) -> list[Document]:
    """Return the update of a job that is a message of an alert; ``whole`` leaves only the name of the alert."""
    data: Any = {"alert": "$data.alert"} if whole else {"$mergeObjects": ["$data", _QUIET]}
    entry = {"$mergeObjects": ["$$this", {"error": _error("$$this.error")}]}
    history = {"$map": {"input": array("$history"), "in": entry}}
    # A plain object would be merged into the present data.
    return [{"$set": {"data": {"$mergeObjects": [data]}, "error": _error("$error"), "history": history}}]


def of_reasons(job_ids: list[ObjectId]) -> list[Document]:
    """Return the update of an operation that names jobs with the reasons why they failed."""
    ids: Any = {"$literal": [str(job_id) for job_id in job_ids]}
    quiet = {"$mergeObjects": ["$$this", {"reason": ERASED}]}
    entry = {"$cond": [{"$in": ["$$this.id", ids]}, quiet, "$$this"]}
    lists = {name: {"$map": {"input": f"${name}", "in": entry}} for name in ("failures", "failedAgain")}
    are_lists = {name: {"$cond": [{"$isArray": f"${name}"}, made, f"${name}"]} for name, made in lists.items()}
    return [{"$set": are_lists}]


def of_batch(operation: str, now: Now) -> list[Document]:
    """Return the update of a finished batch."""
    left: Document = {
        **{name: f"${name}" for name in _KEPT_OF_BATCHES},
        **dict.fromkeys(_CONTENTS_OF_BATCHES),
        "meta": {"$literal": {}},
        "attrs": [],
        FIELD: {"at": now, "operation": ObjectId(operation)},
    }
    return [{"$replaceWith": left}]


def _attempt(entry: str) -> Document:
    kept = {name: f"{entry}.{name}" for name in _KEPT_OF_ATTEMPTS}
    return kept | {"token": None, "error": _error(f"{entry}.error")}


def _error(path: str) -> Document:
    told = {"kind": f"{path}.kind", "message": ERASED}
    return {"$cond": [{"$eq": [{"$type": path}, "object"]}, told, None]}


def _but(path: str, names: list[str]) -> Any:
    """Return an object without some of its fields."""
    pairs = {"$filter": {"input": {"$objectToArray": path}, "as": "field", "cond": _is_other(names)}}
    return {"$arrayToObject": pairs}


def _is_other(names: list[str]) -> Document:
    return {"$not": [{"$in": ["$$field.k", {"$literal": names}]}]}
