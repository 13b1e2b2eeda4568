"""The declared indexes, created and compared at start.

Every unique index on `jobs` begins with ``queue``, so that the collection can be sharded by it. The claim indexes are
partial: they hold only waiting jobs, whatever the number of finished jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.errors import NoDatabaseError, UnsuitableDatabaseError
from jobqueue.journal import get_logger
from jobqueue.store.alerts import incidents
from jobqueue.store.bulk import erasure_statements, failure_statements
from jobqueue.store.documents import external_statements, repeat_statements, statements, unsound_statements
from jobqueue.store.insight import activity_statements, audit_statements
from jobqueue.store.limits import limit_statements
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import AUTHENTICATION, DUPLICATE_KEY, guarded
from jobqueue.store.mongo.driver import (
    ExecutionTimeout,
    IndexModel,
    NetworkTimeout,
    OperationFailure,
    indexes_of,
    timeout,
)
from jobqueue.store.steps import call_statements
from jobqueue.store.work import expiry_statements
from jobqueue.store.workflow import batch_listings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)

# The server knows that an equality implies a comparison, but not a $type: only so it uses the partial index.
_ANY_ID: Final = {"$gte": ObjectId("0" * 24)}
_ANY_TEXT: Final = {"$gt": ""}
# Without a zone, as the driver reports the dates of indexes.
_ANY_DATE: Final = {"$gt": EPOCH.replace(tzinfo=None)}
_NEWEST: Final = (("insertAt", -1), ("_id", -1))
_INDEX_CONFLICTS: Final = frozenset({85, 86})
_INDEX_NOT_FOUND: Final = 27
_TELLING: Final = ("unique", "sparse", "hidden", "partialFilterExpression", "expireAfterSeconds", "collation")
_TRIES: Final = 3
_DAY: Final = 86_400
_BUILD_SECONDS: Final = 6 * 3_600.0
"""Seconds that the indexes of one collection may take to be built."""
_OTHERWISE: Final = "correct --db or JOBQUEUE_DB; the first jobqueue serve, worker or add makes it"


@dataclass(frozen=True, slots=True)
class Index:
    """A declared index."""

    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    options: Mapping[str, Any]


def _index(
    collection: str, name: str, *keys: str | tuple[str, int], where: Mapping[str, Any] | None = None, **options: Any
) -> Index:
    """Return an index of the documents that match a filter, or of all; a bare key is ascending."""
    partial = {} if where is None else {"partialFilterExpression": where}
    pairs = tuple((key, 1) if isinstance(key, str) else key for key in keys)
    return Index(collection, name, pairs, options | partial)


_WAITING: Final = {"state": "pending"}
_IN_GROUP: Final = {"state": "pending", "limitKey": {"$gt": ""}}
_UNFINISHED: Final = {"$in": ["pending", "delayed", "processing"]}
_THERE: Final = {"$exists": True}
# Most lines have no level, and cost this index nothing.
_LEVELED: Final = {"level": {"$gt": ""}}
DECLARED: Final = (
    _index("jobs", statements.CLAIM_INDEX, "queue", *statements.CLAIM_ORDER, where=_WAITING),
    _index("jobs", statements.CLAIM_TYPE_INDEX, "queue", "type", *statements.CLAIM_ORDER, where=_WAITING),
    _index("jobs", statements.READY_INDEX, "queue", "readyAt", "insertAt", where=_WAITING),
    _index("jobs", limit_statements.GROUP_INDEX, "queue", "limitKey", *statements.CLAIM_ORDER, where=_IN_GROUP),
    _index(
        "jobs", limit_statements.GROUP_TYPE_INDEX, "queue", "type", "limitKey", *statements.CLAIM_ORDER, where=_IN_GROUP
    ),
    _index("jobs", "slots", "queue", "slots", unique=True, where={"state": "processing", "slots": _THERE}),
    _index(
        "jobs", repeat_statements.INDEX, "queue", repeat_statements.FIELD, unique=True, where=repeat_statements.KEYED
    ),
    _index("jobs", "due", "delayTil", where={"state": "delayed"}),
    _index("jobs", expiry_statements.INDEX, expiry_statements.FIELD, where=expiry_statements.LIMITED),
    _index("jobs", "lease", "resetAt", where={"state": "processing"}),
    _index("jobs", "outbox", "outbox", where={"outbox": _THERE}),
    # Null matches a missing field too: so this index holds external documents, and no others.
    _index("jobs", external_statements.INDEX, "run", where={"run": None}),
    _index("jobs", unsound_statements.INDEX, "state", where=unsound_statements.unsound()),
    _index("jobs", "key", "queue", "key", unique=True, where={"key": {"$gt": ""}, "state": _UNFINISHED}),
    _index("jobs", "newest", *_NEWEST),
    _index("jobs", "newestOfQueue", "queue", "state", *_NEWEST),
    _index("jobs", "newestOfQueueAndType", "queue", "type", *_NEWEST),
    _index("jobs", "newestOfState", "state", *_NEWEST),
    _index("jobs", "newestOfType", "type", *_NEWEST),
    _index("jobs", "newestOfBatch", "batchId", *_NEWEST, where={"batchId": _ANY_ID}),
    _index("jobs", "batch", "batchId", "state", *_NEWEST, where={"batchId": _ANY_ID}),
    # No listing without a type can take it, and lose the order of the index it needs.
    _index("jobs", batch_listings.BY_TYPE, "batchId", "type", *_NEWEST, where={"batchId": _ANY_ID, "type": _ANY_TEXT}),
    _index("jobs", "ref", "batchId", "ref", where={"ref": {"$gt": ""}}),
    _index("jobs", "dependents", "waitsFor", where={"waitsFor": _THERE}),
    _index("jobs", "unmet", "unmet", "_id", where={"unmet": _THERE}),
    _index("jobs", "readers", "dependsOn", where={"dependsOn": _ANY_ID}),
    _index(
        "jobs", call_statements.INDEX, call_statements.FIELD, "state", "_id", where={call_statements.FIELD: _ANY_ID}
    ),
    _index("jobs", call_statements.WAITING_INDEX, "_id", "state", where={"state": "delayed", "wait.jobs": {"$gte": 0}}),
    _index("jobs", "callbacks", "callbackOf.batchId", where={"callbackOf.batchId": _ANY_ID}),
    _index("jobs", statements.UNREAD, statements.UNREAD, "_id", where={statements.UNREAD: True}),
    _index("jobs", "newestOfParent", "parentId", *_NEWEST, where={"parentId": _ANY_ID}),
    _index("jobs", "newestOfSchedule", "schedule", *_NEWEST, where={"schedule": {"$gt": ""}}),
    *(
        _index("jobs", name, *_NEWEST, where={f"wait.{field}": _THERE})
        for name, field in (("waitForSignal", "signals"), ("waitForJobs", "jobs"), ("waitForPerson", "doubt"))
    ),
    _index("jobs", "newestOfAttribute", "attrs", *_NEWEST, where={"attrs": _THERE}),
    _index("jobs", "ended", "queue", "state", "endAt", where={"endAt": _ANY_DATE}),
    _index(
        "jobs", failure_statements.INDEX, *failure_statements.KEYS, where={"state": {"$in": failure_statements.STATES}}
    ),
    _index("jobs", activity_statements.ATTEMPTS_INDEX, "history.endAt", where={"history.endAt": _ANY_DATE}),
    _index("jobs", activity_statements.KILLED_INDEX, "killedAt", where={"killedAt": _ANY_DATE}),
    _index("jobs", erasure_statements.INDEX, "erased.operation", where={"erased.operation": _ANY_ID}),
    _index("jobs", "tombstones", "expireAt", expireAfterSeconds=0, where={"expireAt": {"$type": "date"}}),
    _index("logs", "line", "jobId", "seq", unique=True),
    _index("logs", "lineOfAttempt", "jobId", "attempt", "seq"),
    _index("logs", "lineOfLevel", "jobId", "level", "seq", where=_LEVELED),
    _index("logs", "lineOfLevelAndAttempt", "jobId", "level", "attempt", "seq", where=_LEVELED),
    _index("attempts", "entry", "jobId", "seq", unique=True),
    _index("attempts", "ended", "entry.endAt"),
    _index("steps", "job", "jobId"),
    _index("batches", "newest", *_NEWEST),
    _index("batches", "newestOfState", "state", *_NEWEST),
    _index("batches", batch_listings.BY_ATTRIBUTE, "attrs", *_NEWEST, where={"attrs": _THERE}),
    # Null matches a missing field too: so this index holds batches of earlier versions, and no others.
    _index("batches", batch_listings.UNMARKED, "attrs", where={"attrs": None}),
    _index("batches", "outbox", "outbox", where={"outbox": _THERE}),
    _index("additions", "expiry", "at", expireAfterSeconds=_DAY),
    _index("operations", "free", "lease.until", where={"state": "running"}),
    _index("operations", "newestOfState", "state", ("_id", -1)),
    _index("audit", "target", "target.kind", "target.name", ("_id", -1)),
    _index("audit", "actor", "by.name", ("_id", -1)),
    _index("audit", "action", "action", ("_id", -1)),
    _index("schedules", "due", "nextAt"),
    _index("schedules", audit_statements.INDEX, "audit._id", where=audit_statements.WAITING),
    _index("alerts", audit_statements.INDEX, "audit._id", where=audit_statements.WAITING),
    _index("incidents", incidents.STANDING, "incarnation", ("since", -1), where={"standing": True}),
    _index("incidents", "expiry", "expireAt", expireAfterSeconds=0),
    _index("operations", audit_statements.INDEX, "audit._id", where=audit_statements.WAITING),
    _index("limits", "queue", "queue"),
    _index("limits", "expiry", "expireAt", expireAfterSeconds=0),
    _index("workers", "expiry", "expireAt", expireAfterSeconds=0),
    _index("schemas", "expiry", "expireAt", expireAfterSeconds=0),
    _index("idempotency", "expiry", "at", expireAfterSeconds=_DAY),
)


@guarded
async def ensure(database: Database, *, creates: bool = True) -> list[str]:
    """Create the declared indexes that are missing; return the names of those that had to be replaced.

    Args:
        database: the database.
        creates: make the database if it does not exist; otherwise a user may lack the right to create indexes.

    Raises:
        NoDatabaseError: the database does not exist, and ``creates`` is False.
        UnsuitableDatabaseError: stored documents break a unique index.
    """
    if not creates and not await database.raw.list_collection_names(
        filter={"name": "jobs"}, authorizedCollections=True
    ):
        other = await database.name_in_other_case()
        there = f", but {other}, a name in different case" if other else ""
        raise NoDatabaseError(f"there is no database {database.name} on this MongoDB{there}: {_OTHERWISE}")
    try:
        # Mostly all are there: one command for each collection tells so.
        differing = [
            index
            for collection, declared in _by_collection().items()
            if not await _create(database, collection, declared)
            for index in declared
        ]
        return [
            index.name
            for index in differing
            if not await _create(database, index.collection, [index]) and await _replace(database, index)
        ]
    except OperationFailure as error:
        if creates or error.code not in AUTHENTICATION:
            raise
        return []


async def _replace(database: Database, index: Index) -> bool:
    """Replace the indexes that conflict with a declared one; other processes may do the same."""
    for _ in range(_TRIES):
        await _clear(database, index)
        if await _create(database, index.collection, [index]):
            break
    return True


@guarded
async def differences(database: Database) -> list[str]:
    """Return a line for each missing or different index."""
    existing: dict[tuple[str, str], dict[str, Any]] = {}
    for collection in {index.collection for index in DECLARED}:
        for stored in await indexes_of(database.collection(collection)):
            existing[collection, stored["name"]] = stored
    lines = []
    for index in DECLARED:
        if (match := existing.get((index.collection, index.name))) is None:
            lines.append(f"index {index.name} of {index.collection} is missing")
        elif not _is(match, index):
            lines.append(f"index {index.name} of {index.collection} is not as declared")
    return lines


def _is(stored: Mapping[str, Any], index: Index) -> bool:
    """Return True if a stored index, under any name, equals a declared one."""
    options = {name: stored[name] for name in _TELLING if name in stored and stored[name] is not False}
    is_same = options == index.options or _encoded(options) == _encoded(index.options)
    return is_same and tuple(stored["key"].items()) == index.keys


def _encoded(options: Mapping[str, Any]) -> dict[str, bytes]:
    """Return options in a form in which a NaN among them equals itself."""
    return {name: bson.encode({"": value}) for name, value in options.items()}


def _by_collection() -> dict[str, list[Index]]:
    declared: dict[str, list[Index]] = {}
    for index in DECLARED:
        declared.setdefault(index.collection, []).append(index)
    return declared


async def _create(database: Database, collection: str, declared: Sequence[Index]) -> bool:
    """Create those indexes of a collection that are missing, by one command.

    Returns:
        False if another index conflicts with one of them; then none is created.
    """
    models = [IndexModel(list(index.keys), name=index.name, **index.options) for index in declared]
    try:
        await _build(database, collection, models)
    except OperationFailure as error:
        if error.code in _INDEX_CONFLICTS:
            return False
        if error.code != DUPLICATE_KEY:
            raise
        if len(declared) > 1:
            # One after the other, the error tells which.
            return False
        double = (error.details or {}).get("keyValue")
        raise UnsuitableDatabaseError(
            f"the unique index {declared[0].name} of {collection} cannot be created, because more than one "
            f"document has {double}: end or delete all of them but one"
        ) from error
    return True


async def _build(database: Database, collection: str, models: list[IndexModel]) -> None:
    """Create indexes, however long a long history takes; the server goes on with a build whose caller has left."""
    indexed = database.collection(collection)
    try:
        await indexed.create_indexes(models)
    except (NetworkTimeout, ExecutionTimeout):
        log.info("indexes being built", collection=collection)
        with timeout(_BUILD_SECONDS):
            await indexed.create_indexes(models)


async def _clear(database: Database, index: Index) -> None:
    """Drop the index with the name of a declared one, or with its definition."""
    collection = database.collection(index.collection)
    for stored in await indexes_of(collection):
        if stored["name"] == index.name or _is(stored, index):
            try:
                await collection.drop_index(stored["name"])
            except OperationFailure as error:
                if error.code != _INDEX_NOT_FOUND:
                    raise
