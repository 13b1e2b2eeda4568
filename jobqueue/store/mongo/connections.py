"""The clients of the driver: the options of the MongoDB URL that hold for each, and the options that jobqueue sets."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from pymongo.uri_parser import split_options

from jobqueue.settings.mongo_url import OF_MAIN_POOL, OVERRIDDEN, without
from jobqueue.store.mongo.driver import LENIENT, AsyncMongoClient, MongoClient, PyMongoError, timeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPERATION_MS: Final = 20_000
"""Milliseconds one call may take, the driver's own retries included."""
CONNECT_SECONDS: Final = 10.0
"""Seconds to find a server and get its first answer."""
ANSWER_SECONDS: Final = 1.0
"""Seconds to get an answer from a known server."""
_SELECTION_MS: Final = 8_000
_HEARTBEAT_MS: Final = 2_000
"""Milliseconds between two checks of a server."""
_CONNECT_MS: Final = 4_000
"""Milliseconds to connect, and to wait for a late check before all calls leave a server that hangs."""
_OF_DATABASE: Final = "$cmd.aggregate"
"""The name by which the server knows cursors of a whole database."""
_MOMENT: Final = 1.0


def check(url: str) -> None:
    """Refuse options that the driver ignores with a warning.

    Raises:
        PyMongoError, ValueError, TypeError, OSError: an option is unknown or has a value that cannot be used.
    """
    query = _query(without(url, OVERRIDDEN))
    if query:
        with warnings.catch_warnings():
            # The driver leaves out a compressor that is not installed here, and nothing is lost.
            warnings.simplefilter("ignore")
            split_options(query, validate=True, warn=False)


def main(url: str, application: str) -> AsyncMongoClient[Any]:
    """Return the client for all calls but change streams and heartbeats.

    Raises:
        PyMongoError, ValueError, TypeError: the URL cannot be used.
    """
    return AsyncMongoClient(
        without(url, OVERRIDDEN),
        appname=application,
        retryWrites=True,
        uuidRepresentation="standard",
        **_timeouts(url),
    )


def renewals(url: str, seconds: float) -> MongoClient[Any]:
    """Return the blocking client of one connection for heartbeats; ``seconds`` is the time limit of a call."""
    return MongoClient(
        _aside(url),
        maxPoolSize=1,
        timeoutMS=int(seconds * 1000),
        appname="jobqueue-leases",
        # The renewer sends a failed heartbeat again itself, after a look around.
        retryWrites=False,
    )


def embedded(host: str, port: int) -> MongoClient[dict[str, Any]]:
    """Return a blocking client of one mongod, whatever the state of its replica set."""
    return MongoClient(host, port, directConnection=True, appname="jobqueue-embedded")


class StreamClient:
    """A client for change streams, connected at the first use.

    A stream waits for changes longer than other calls may take, and reads what a majority has. So no time limit and no
    read option of the URL holds here.

    Args:
        url: of the MongoDB deployment.
        name: of the database to watch.
        application: the name under which the server lists the connections.
        pool: the number of connections at most.
    """

    def __init__(self, url: str, name: str, application: str, pool: int) -> None:
        self._url, self._name = url, name
        self._application, self._pool = application, pool
        self._client: AsyncMongoClient[Any] | None = None

    async def watch_jobs(self, pipeline: Sequence[Mapping[str, Any]], after: str | None, **options: Any) -> Any:
        """Return a change stream of jobs that begins after a position or, with ``None``, now."""
        start = {} if after is None else {"resume_after": {"_data": after}}
        return await self.watch(pipeline, collection="jobs", **start, **options)

    async def watch(
        self, pipeline: Sequence[Mapping[str, Any]], *, collection: str | None = None, **options: Any
    ) -> Any:
        """Return a change stream of a collection or, with ``None``, of the whole database."""
        if self._client is None:
            self._client = AsyncMongoClient(_aside(self._url), maxPoolSize=self._pool, appname=self._application)
        database = self._client.get_database(self._name, codec_options=LENIENT)
        return (database if collection is None else database[collection]).watch(pipeline, **options)

    async def interrupt(self, stream: Any) -> None:
        """End the wait of a change stream of the whole database at once.

        The server looks whether it is to drop a stream only when something is written. So something is.
        """
        cursor = getattr(stream.delegate, "_cursor", None)
        if self._client is None or cursor is None or not cursor.cursor_id:
            return
        with contextlib.suppress(PyMongoError), timeout(_MOMENT):
            database = self._client.get_database(self._name)
            await database.command({"killCursors": _OF_DATABASE, "cursors": [cursor.cursor_id]})
            stopped = {"$set": {"number": cursor.cursor_id}}
            await database["streams"].update_one({"_id": "stopped"}, stopped, upsert=True)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _aside(url: str) -> str:
    """Return the URL for connections besides those of `main`."""
    return without(url, OVERRIDDEN | OF_MAIN_POOL)


def first_answer_seconds(url: str) -> float:
    """Return the time limit of the first answer; a shorter server selection timeout in the URL shortens it."""
    selection = _options(url).get("serverselectiontimeoutms", "")
    return min(CONNECT_SECONDS, int(selection) / 1000 + ANSWER_SECONDS) if selection.isdecimal() else CONNECT_SECONDS


def _timeouts(url: str) -> dict[str, Any]:
    """Return the driver's time limits but for those that the URL sets."""
    options = _options(url)
    limits = {
        "timeoutMS": OPERATION_MS,
        "serverSelectionTimeoutMS": _SELECTION_MS,
        "heartbeatFrequencyMS": _HEARTBEAT_MS,
        "connectTimeoutMS": _CONNECT_MS,
    }
    return {name: limit for name, limit in limits.items() if name.lower() not in options}


def _options(url: str) -> dict[str, str]:
    return {name.lower(): values[-1] for name, values in parse_qs(_query(url).replace(";", "&")).items()}


def _query(url: str) -> str:
    return url.partition("?")[2]
