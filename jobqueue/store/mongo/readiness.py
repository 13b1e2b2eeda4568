"""Ask MongoDB for the least that every request needs, and write nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import NotReadyError
from jobqueue.store.mongo.database import AUTHENTICATION, brief
from jobqueue.store.mongo.driver import (
    AutoReconnect,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    timeout,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.mongo.database import Database

SECONDS: Final = 2.0
"""Seconds within which MongoDB has to answer."""
_CONFIRM_MS: Final = 1500
_CREDENTIALS: Final = frozenset({18, 8000})
_QUESTION: Final[dict[str, Any]] = {
    "findAndModify": "jobs",
    # An empty list matches no document. Routers of a sharded cluster want the queue.
    "query": {"queue": "readiness", "_id": {"$in": []}},
    "update": {"$set": {"type": "readiness"}},
    "fields": {"_id": 1},
    "writeConcern": {"w": "majority", "wtimeout": _CONFIRM_MS},
}


async def check(database: Database) -> None:
    """Make sure that the primary takes writes of this user, and that a majority of the replica set confirms them.

    The question is a write that matches no document. It needs the rights to read and to write, adds nothing to the
    oplog, and waits until a majority has all earlier writes.

    Raises:
        NotReadyError: requests would fail; the message names no host.
    """
    try:
        with timeout(SECONDS):
            answer = await _ask(database)
    except PyMongoError as error:
        raise NotReadyError(_reason(database, error), brief(error)) from error
    if failure := answer.get("writeConcernError"):
        reason = "no majority of the replica set confirms writes: its members must run and reach each other"
        raise NotReadyError(reason, str(failure.get("errmsg")))


async def _ask(database: Database) -> Mapping[str, Any]:
    try:
        return dict(await database.raw.command({**_QUESTION}))
    except ServerSelectionTimeoutError:
        raise
    except AutoReconnect:
        # A second try finds the next primary, as that of every request does.
        return dict(await database.raw.command({**_QUESTION}))


def _reason(database: Database, error: PyMongoError) -> str:
    if isinstance(error, OperationFailure) and error.code in AUTHENTICATION:
        if error.code in _CREDENTIALS:
            return "MongoDB refuses access: it does not accept the user and password of the MongoDB URL"
        return "MongoDB refuses access: the user of the MongoDB URL needs the right to read and write the database"
    if isinstance(error, ServerSelectionTimeoutError) and database.has_members():
        return "the replica set has no primary: a majority of its members must run and reach each other"
    if error.timeout and not isinstance(error, ServerSelectionTimeoutError):
        return "MongoDB does not answer in time"
    if isinstance(error, OperationFailure):
        return f"MongoDB refuses to write: {(error.details or {}).get('codeName') or error.code}"
    return "MongoDB cannot be reached"
