"""The driver's clients: the options of the MongoDB URL that hold for each, and those that jobqueue sets instead."""

from __future__ import annotations

import warnings
from typing import Any, Final
from urllib.parse import parse_qs

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.uri_parser import split_options

from jobqueue.settings.mongo_url import OF_MAIN_POOL, OVERRIDDEN, without

OPERATION_MS: Final = 20_000
"""Milliseconds one call may take, the driver's own retries included."""
CONNECT_SECONDS: Final = 10.0
"""Seconds within which a server has to be found and answer at first."""
ANSWER_SECONDS: Final = 1.0
"""Seconds that an answer may take once a server was found."""
_SELECTION_MS: Final = 8_000
_HEARTBEAT_MS: Final = 2_000
"""Milliseconds between two answers in which a server says how it is."""
_CONNECT_MS: Final = 4_000
"""Milliseconds to connect; so much too late may one of those answers be before all calls leave a server that hangs."""


def check(url: str) -> None:
    """Refuse options that the driver would only warn of and then ignore.

    Raises:
        PyMongoError, ValueError, TypeError, OSError: an option is unknown or has a value that cannot be used.
    """
    query = _query(without(url, OVERRIDDEN))
    if query:
        with warnings.catch_warnings():
            # A compressor that is not installed here is left out, and nothing is lost.
            warnings.simplefilter("ignore")
            split_options(query, validate=True, warn=False)


def main(url: str, application: str) -> AsyncIOMotorClient[Any]:
    """Return the client for everything but change streams and heartbeats.

    Raises:
        PyMongoError, ValueError, TypeError: the URL cannot be used.
    """
    return AsyncIOMotorClient(
        without(url, OVERRIDDEN),
        appname=application,
        retryWrites=True,
        uuidRepresentation="standard",
        **_timeouts(url),
    )


def stream(url: str, application: str, pool: int) -> AsyncIOMotorClient[Any]:
    """Return a client for change streams, of at most ``pool`` connections.

    A stream waits for changes longer than other calls may take, and reads what a majority has: no limit and no read
    option of the URL holds here.
    """
    return AsyncIOMotorClient(aside(url), maxPoolSize=pool, appname=application)


def aside(url: str) -> str:
    """Return the URL for connections besides those of `main`."""
    return without(url, OVERRIDDEN | OF_MAIN_POOL)


def first_answer_seconds(url: str) -> float:
    """Return how long the first answer may take: a shorter time for finding a server, set in the URL, counts."""
    selection = _given(url).get("serverselectiontimeoutms", "")
    return min(CONNECT_SECONDS, int(selection) / 1000 + ANSWER_SECONDS) if selection.isdecimal() else CONNECT_SECONDS


def _timeouts(url: str) -> dict[str, Any]:
    """Return the driver's time limits, but for those the URL sets itself."""
    options = _given(url)
    limits = {
        "timeoutMS": OPERATION_MS,
        "serverSelectionTimeoutMS": _SELECTION_MS,
        "heartbeatFrequencyMS": _HEARTBEAT_MS,
        "connectTimeoutMS": _CONNECT_MS,
    }
    return {name: limit for name, limit in limits.items() if name.lower() not in options}


def _given(url: str) -> dict[str, str]:
    return {name.lower(): values[-1] for name, values in parse_qs(_query(url).replace(";", "&")).items()}


def _query(url: str) -> str:
    return url.partition("?")[2]
