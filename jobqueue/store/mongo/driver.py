"""The MongoDB driver, under the names that the rest of the store uses.

No module outside this room imports `motor` or `pymongo`; an import contract keeps that. Motor is the driver. Its types
have the names of PyMongo's own asyncio client here, and the functions below hide where the two differ.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from bson import CodecOptions
from bson.codec_options import DatetimeConversion
from motor.motor_asyncio import AsyncIOMotorClient as AsyncMongoClient
from motor.motor_asyncio import AsyncIOMotorClientSession as AsyncClientSession
from motor.motor_asyncio import AsyncIOMotorCollection as AsyncCollection
from motor.motor_asyncio import AsyncIOMotorDatabase as AsyncDatabase
from pymongo import (
    IndexModel,
    MongoClient,
    ReadPreference,
    ReturnDocument,
    UpdateMany,
    UpdateOne,
    WriteConcern,
    timeout,
)
from pymongo.client_session import ClientSession as BlockingSession
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteError,
    WTimeoutError,
)
from pymongo.read_concern import ReadConcern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from motor.motor_asyncio import AsyncIOMotorCommandCursor

LENIENT: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""Reads every document that another tool may have written: an odd one must not spoil the reading of many."""


async def aggregate(
    collection: AsyncCollection[Any], pipeline: Sequence[Mapping[str, Any]], **options: Any
) -> AsyncIOMotorCommandCursor[Any]:
    """Return the cursor of an aggregation, which is a coroutine in PyMongo."""
    return collection.aggregate(pipeline, **options)


async def indexes_of(collection: AsyncCollection[Any]) -> list[dict[str, Any]]:
    """Return the indexes of a collection, whose cursor is a coroutine in PyMongo."""
    return [dict(index) async for index in collection.list_indexes()]


def session_id(session: AsyncClientSession) -> Any:
    """Return the id of a session as the server knows it; PyMongo has it in the session itself."""
    return session.delegate.session_id["id"]


def same_collection(collection: AsyncCollection[Any], session: AsyncClientSession) -> AsyncCollection[Any]:
    """Return a collection on the client of a caller's session: a session belongs to its own client."""
    return session.client[collection.database.name][collection.name]
