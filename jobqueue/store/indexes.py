"""The declared indexes, created and compared at start.

Every unique index on `jobs` begins with ``queue``, so that the collection can be sharded by it. The claim indexes are
partial: they hold only waiting jobs, however many finished ones are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.errors import NoDatabaseError, UnsuitableDatabaseError
from jobqueue.store.bulk import failure_statements
from jobqueue.store.documents import external_statements, statements, unsound_statements
from jobqueue.store.insight import activity_statements, audit_statements
from jobqueue.store.limits import limit_statements
from jobqueue.store.mongo.database import AUTHENTICATION, guarded
from jobqueue.store.mongo.driver import OperationFailure, indexes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.mongo.database import Database

# An equality is known to imply a comparison, but not a $type: only so does the server use the partial index.
_ANY_ID: Final = {"$gte": ObjectId("0" * 24)}
# Without a zone, as the driver reports the dates of indexes.
_EPOCH: Final = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
_GROUPED: Final = (("limitKey", 1), *statements.CLAIM_ORDER)
_NEWEST: Final = (("insertAt", -1), ("_id", -1))
_INDEX_CONFLICTS: Final = frozenset({85, 86})
_INDEX_NOT_FOUND: Final = 27
_DUPLICATE_KEY: Final = 11000
_TELLING: Final = ("unique", "sparse", "hidden", "partialFilterExpression", "expireAfterSeconds", "collation")
_TRIES: Final = 3
_DAY: Final = 86_400
_OTHERWISE: Final = "correct --db or JOBQUEUE_DB; the first jobqueue serve, worker or add makes it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One declared index."""

    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def _partial(**matches: Any) -> dict[str, Any]:
    return {"partialFilterExpression": matches}


def _declared() -> Sequence[Index]:
    waiting = _partial(state="pending")
    grouped = _partial(state="pending", limitKey={"$gt": ""})
    unfinished = {"$in": ["pending", "delayed", "processing"]}
    noted, entries = ("schedules", "operations"), _partial(**audit_statements.WAITING)
    # What most lines do not have costs them nothing.
    leveled = _partial(level={"$gt": ""})
    of_jobs: dict[str, tuple[tuple[tuple[str, int], ...], dict[str, Any]]] = {
        statements.CLAIM_INDEX: ((("queue", 1), *statements.CLAIM_ORDER), waiting),
        statements.CLAIM_TYPE_INDEX: ((("queue", 1), ("type", 1), *statements.CLAIM_ORDER), waiting),
        statements.READY_INDEX: ((("queue", 1), ("readyAt", 1), ("insertAt", 1)), waiting),
        limit_statements.GROUP_INDEX: ((("queue", 1), *_GROUPED), grouped),
        limit_statements.GROUP_TYPE_INDEX: ((("queue", 1), ("type", 1), *_GROUPED), grouped),
        "slots": (
            (("queue", 1), ("slots", 1)),
            {"unique": True, **_partial(state="processing", slots={"$exists": True})},
        ),
        "due": ((("delayTil", 1),), _partial(state="delayed")),
        "lease": ((("resetAt", 1),), _partial(state="processing")),
        "outbox": ((("outbox", 1),), _partial(outbox={"$exists": True})),
        # Null matches a missing field: so it holds what another tool has put there, and nothing else.
        external_statements.INDEX: ((("run", 1),), _partial(run=None)),
        unsound_statements.INDEX: (
            (("state", 1),),
            {"partialFilterExpression": unsound_statements.unsound()},
        ),
        "key": (
            (("queue", 1), ("key", 1)),
            {"unique": True, **_partial(key={"$gt": ""}, state=unfinished)},
        ),
        "newest": (_NEWEST, {}),
        "newestOfQueue": ((("queue", 1), ("state", 1), *_NEWEST), {}),
        "newestOfQueueAndType": ((("queue", 1), ("type", 1), *_NEWEST), {}),
        "newestOfState": ((("state", 1), *_NEWEST), {}),
        "newestOfType": ((("type", 1), *_NEWEST), {}),
        "newestOfBatch": ((("batchId", 1), *_NEWEST), _partial(batchId=_ANY_ID)),
        "batch": ((("batchId", 1), ("state", 1), *_NEWEST), _partial(batchId=_ANY_ID)),
        "ref": ((("batchId", 1), ("ref", 1)), _partial(ref={"$gt": ""})),
        "dependents": ((("waitsFor", 1),), _partial(waitsFor={"$exists": True})),
        "unmet": ((("unmet", 1), ("_id", 1)), _partial(unmet={"$exists": True})),
        "readers": ((("dependsOn", 1),), _partial(dependsOn=_ANY_ID)),
        "callbacks": ((("callbackOf.batchId", 1),), _partial(**{"callbackOf.batchId": _ANY_ID})),
        statements.UNREAD: (((statements.UNREAD, 1), ("_id", 1)), _partial(**{statements.UNREAD: True})),
        "newestOfParent": ((("parentId", 1), *_NEWEST), _partial(parentId=_ANY_ID)),
        "newestOfSchedule": ((("schedule", 1), *_NEWEST), _partial(schedule={"$gt": ""})),
        "newestOfAttribute": ((("attrs", 1), *_NEWEST), _partial(attrs={"$exists": True})),
        "ended": ((("queue", 1), ("state", 1), ("endAt", 1)), _partial(endAt={"$gt": _EPOCH})),
        failure_statements.INDEX: (failure_statements.KEYS, _partial(state={"$in": failure_statements.STATES})),
        activity_statements.ATTEMPTS_INDEX: ((("history.endAt", 1),), _partial(**{"history.endAt": {"$gt": _EPOCH}})),
        activity_statements.KILLED_INDEX: ((("killedAt", 1),), _partial(killedAt={"$gt": _EPOCH})),
        "tombstones": ((("expireAt", 1),), {"expireAfterSeconds": 0, **_partial(expireAt={"$type": "date"})}),
    }
    return (
        *(Index(collection="jobs", name=name, keys=keys, options=options) for name, (keys, options) in of_jobs.items()),
        Index(collection="logs", name="line", keys=(("jobId", 1), ("seq", 1)), options={"unique": True}),
        Index(collection="logs", name="lineOfAttempt", keys=(("jobId", 1), ("attempt", 1), ("seq", 1))),
        Index(collection="logs", name="lineOfLevel", keys=(("jobId", 1), ("level", 1), ("seq", 1)), options=leveled),
        Index(
            collection="logs",
            name="lineOfLevelAndAttempt",
            keys=(("jobId", 1), ("level", 1), ("attempt", 1), ("seq", 1)),
            options=leveled,
        ),
        Index(collection="attempts", name="entry", keys=(("jobId", 1), ("seq", 1)), options={"unique": True}),
        Index(collection="attempts", name="ended", keys=(("entry.endAt", 1),)),
        Index(collection="batches", name="newest", keys=_NEWEST),
        Index(collection="batches", name="newestOfState", keys=(("state", 1), *_NEWEST)),
        Index(collection="batches", name="outbox", keys=(("outbox", 1),), options=_partial(outbox={"$exists": True})),
        Index(collection="additions", name="expiry", keys=(("at", 1),), options={"expireAfterSeconds": _DAY}),
        Index(collection="operations", name="free", keys=(("lease.until", 1),), options=_partial(state="running")),
        Index(collection="operations", name="newestOfState", keys=(("state", 1), ("_id", -1))),
        Index(collection="audit", name="target", keys=(("target.kind", 1), ("target.name", 1), ("_id", -1))),
        Index(collection="audit", name="actor", keys=(("by.name", 1), ("_id", -1))),
        Index(collection="schedules", name="due", keys=(("nextAt", 1),)),
        *(
            Index(collection=name, name=audit_statements.INDEX, keys=(("audit._id", 1),), options=entries)
            for name in noted
        ),
        Index(collection="limits", name="queue", keys=(("queue", 1),)),
        Index(collection="limits", name="expiry", keys=(("expireAt", 1),), options={"expireAfterSeconds": 0}),
        Index(collection="workers", name="expiry", keys=(("expireAt", 1),), options={"expireAfterSeconds": 0}),
        Index(collection="idempotency", name="expiry", keys=(("at", 1),), options={"expireAfterSeconds": _DAY}),
    )


DECLARED: Final = _declared()


@guarded
async def ensure(database: Database, *, creates: bool = True) -> list[str]:
    """Create the declared indexes that are missing; return the names of those that had to be replaced.

    Args:
        database: whose indexes.
        creates: make the database if it is not there; otherwise a user may lack the right to create indexes.

    Raises:
        NoDatabaseError: it is not there, and not to be made.
        UnsuitableDatabaseError: the documents that are there break a unique index.
    """
    if creates:
        return await _ensure(database)
    if not await database.raw.list_collection_names(filter={"name": "jobs"}, authorizedCollections=True):
        other = await database.name_in_other_case()
        there = f", but {other}, a name in different case" if other else ""
        raise NoDatabaseError(f"there is no database {database.name} on this MongoDB{there}: {_OTHERWISE}")
    try:
        return await _ensure(database)
    except OperationFailure as error:
        if error.code in AUTHENTICATION:
            return []
        raise


async def _ensure(database: Database) -> list[str]:
    """Create what is missing, and replace what stands in the way of it.

    Returns:
        The names of the indexes that had to be replaced.

    Raises:
        UnsuitableDatabaseError: the documents that are there break a unique index.
    """
    replaced = []
    for index in DECLARED:
        if await _create(database, index):
            continue
        for _ in range(_TRIES):
            await _clear(database, index)
            if await _create(database, index):
                break
        replaced.append(index.name)
    return replaced


@guarded
async def differences(database: Database) -> list[str]:
    """Say what is missing or different from the declaration, a line each; an empty list is good."""
    present: dict[str, dict[str, Any]] = {}
    for collection in {index.collection for index in DECLARED}:
        for stored in await indexes_of(database.collection(collection)):
            present[f"{collection}.{stored['name']}"] = stored
    lines = []
    for index in DECLARED:
        there = present.get(f"{index.collection}.{index.name}")
        if there is None:
            lines.append(f"index {index.name} of {index.collection} is missing")
        elif not _is(there, index):
            lines.append(f"index {index.name} of {index.collection} is not as declared")
    return lines


def _is(there: Mapping[str, Any], index: Index) -> bool:
    """Tell whether an index that is there, under whatever name, is what is declared."""
    options = {name: there[name] for name in _TELLING if name in there and there[name] is not False}
    return tuple(there["key"].items()) == index.keys and (
        options == index.options or _encoded(options) == _encoded(index.options)
    )


def _encoded(options: Mapping[str, Any]) -> dict[str, bytes]:
    """Return options in a form in which a NaN among them equals itself."""
    return {name: bson.encode({"": value}) for name, value in options.items()}


async def _create(database: Database, index: Index) -> bool:
    """Create an index unless it is there; return ``False`` if another one stands in its way."""
    try:
        await database.collection(index.collection).create_index(list(index.keys), name=index.name, **index.options)
    except OperationFailure as error:
        if error.code in _INDEX_CONFLICTS:
            return False
        if error.code == _DUPLICATE_KEY:
            double = (error.details or {}).get("keyValue")
            raise UnsuitableDatabaseError(
                f"the unique index {index.name} of {index.collection} cannot be created, because more than one "
                f"document has {double}: end or delete all of them but one"
            ) from error
        raise
    return True


async def _clear(database: Database, index: Index) -> None:
    """Drop what has the name of an index, or its definition under another name."""
    collection = database.collection(index.collection)
    for stored in await indexes_of(collection):
        if stored["name"] == index.name or _is(stored, index):
            try:
                await collection.drop_index(stored["name"])
            except OperationFailure as error:
                if error.code != _INDEX_NOT_FOUND:
                    raise
