"""The connection to a database, its transactions, and the errors of the driver."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
import time
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from bson import CodecOptions, ObjectId
from bson.errors import InvalidId

from jobqueue.domain.errors import (
    DatabaseUnavailableError,
    JobQueueError,
    NotFoundError,
    TooLargeError,
    UnsuitableDatabaseError,
)
from jobqueue.settings.mongo_url import without_password
from jobqueue.store.mongo import connections
from jobqueue.store.mongo.clock import ServerClock
from jobqueue.store.mongo.connections import ANSWER_SECONDS, OPERATION_MS
from jobqueue.store.mongo.driver import (
    LENIENT,
    AutoReconnect,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ReadConcern,
    ReadPreference,
    ServerSelectionTimeoutError,
    WriteConcern,
    WTimeoutError,
    timeout,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

    from jobqueue.store.mongo.driver import AsyncClientSession, AsyncCollection, AsyncDatabase, AsyncMongoClient

P = ParamSpec("P")
T = TypeVar("T")

OLDEST_SERVER: Final = (6, 0)
_TRANSACTION_SECONDS: Final = 4.0
"""Seconds after which a colliding transaction fails, and its caller has to come back."""
_PAUSES: Final = (0.01, 0.5)
"""Seconds between two tries of a transaction: the shortest and the longest."""
_AGAIN_SECONDS: Final = 0.2
_MOST_DOCUMENT: Final = 16 * 1024 * 1024
AUTHENTICATION: Final = frozenset({13, 18, 8000})
"""Error codes of a user without rights or with a wrong password."""
_TOO_LARGE: Final = frozenset({10334, 17419, 17420})
DUPLICATE_KEY: Final = 11000
_TOO_COSTLY: Final = frozenset({50, 292})
_OTHER_CASE: Final = 13297
_NOT_NOW: Final = frozenset({91, 189, 11600, 11602, 10107, 13435, 13436, 50, 64, 262})
_WRITES: Final = WriteConcern(w="majority", j=True)
_PLAIN: Final[CodecOptions[dict[str, Any]]] = CodecOptions()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the driver into errors of this package; a duplicate key passes."""
    try:
        yield
    except InvalidId as error:
        raise NotFoundError("job", "of this id") from error
    except DocumentTooLarge as error:
        raise TooLargeError("the job", _MOST_DOCUMENT, _MOST_DOCUMENT) from error
    except (ConnectionFailure, AutoReconnect, ExecutionTimeout, WTimeoutError) as error:
        raise DatabaseUnavailableError(f"MongoDB cannot be reached: {brief(error)}") from error
    except OperationFailure as error:
        if (known := _known_failure(error)) is not None:
            raise known from error
        raise
    except PyMongoError as error:
        if error.timeout:
            raise DatabaseUnavailableError(f"MongoDB did not answer in time: {brief(error)}") from error
        raise


def _known_failure(error: OperationFailure) -> JobQueueError | None:
    """Return the error of this package for a refusal of the server, if there is one."""
    if error.code in AUTHENTICATION:
        return UnsuitableDatabaseError(f"MongoDB refuses access: {brief(error)}")
    if error.code in _TOO_LARGE:
        return TooLargeError("the job", _MOST_DOCUMENT, _MOST_DOCUMENT)
    if error.code == _OTHER_CASE:
        fix = "MongoDB has no two databases whose names differ by case only: correct --db"
        return UnsuitableDatabaseError(f"{brief(error)}; {fix}")
    if error.code in _NOT_NOW or error.timeout or (error.details or {}).get("writeConcernErrors"):
        return DatabaseUnavailableError(f"MongoDB cannot answer now: {brief(error)}")
    return None


def guarded(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Make a store method raise the errors of this package."""

    @functools.wraps(method)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        with translated():
            return await method(*args, **kwargs)

    return inner


async def exists(collection: AsyncCollection[Any], query: Mapping[str, Any], **options: Any) -> bool:
    """Tell whether a document matches; options as of `find_one`."""
    return await collection.find_one(query, {"_id": 1}, **options) is not None


def brief(error: BaseException) -> str:
    """Return one line of an error of the driver, without the dump of the topology and without credentials."""
    line = re.split(r", Timeout:|, full error:|\(configured timeouts:", str(error))[0].splitlines()
    return re.sub(r"://[^@/\s]*@", "://***@", line[0].strip() if line else type(error).__name__)[:300]


def new_id() -> str:
    """Return a fresh id of 24 hex digits."""
    return str(ObjectId())


class Database:
    """A MongoDB database with the write and read concern that the promises rest on."""

    def __init__(
        self, client: AsyncMongoClient[Any], name: str, url: str, clock: type[ServerClock] = ServerClock
    ) -> None:
        self._client = client
        self._database: AsyncDatabase[Any] = client.get_database(
            name,
            codec_options=LENIENT,
            write_concern=_WRITES,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )
        self.name = name
        self.url = url
        self.clock = clock(lambda: self.command("hello"))

    @classmethod
    async def connect(
        cls,
        url: str,
        name: str,
        *,
        application: str = "jobqueue",
        prepare: Callable[[Database], Awaitable[object]] | None = None,
        clock: type[ServerClock] = ServerClock,
        answered: Callable[[], None] = lambda: None,
    ) -> Database:
        """Connect, check that the server is suitable, and prepare the database.

        Args:
            url: of the MongoDB deployment.
            name: of the database.
            application: the name under which the server lists the connections.
            prepare: creates indexes, for example; an election repeats it.
            clock: tells the present; tests move theirs.
            answered: called when the server has answered.

        Raises:
            DatabaseUnavailableError: nothing answers.
            NoDatabaseError: the database does not exist, and ``prepare`` makes none.
            UnsuitableDatabaseError: the URL is wrong, the server refuses access, is a standalone, or is too old.
        """
        try:
            connections.check(url)
            client = connections.main(url, application)
        except (PyMongoError, ValueError, TypeError, OSError) as error:
            raise UnsuitableDatabaseError(
                f"the MongoDB URL cannot be used: {without_password(brief(error), url)}"
            ) from error
        database = cls(client, name, url, clock)
        until = time.monotonic() + connections.first_answer_seconds(url)
        try:
            while True:
                try:
                    with translated():
                        with timeout(max(ANSWER_SECONDS, until - time.monotonic())):
                            await database.check()
                        answered()
                        if prepare is not None:
                            await prepare(database)
                except PyMongoError as error:
                    told = without_password(brief(error), url)
                    raise UnsuitableDatabaseError(f"MongoDB cannot be used: {told}") from error
                except DatabaseUnavailableError:
                    # A process that starts during an election finds the next primary a moment later.
                    if time.monotonic() >= until - ANSWER_SECONDS:
                        raise
                    await asyncio.sleep(_AGAIN_SECONDS)
                else:
                    return database
        except BaseException:
            client.close()
            raise

    @property
    def raw(self) -> AsyncDatabase[Any]:
        """The driver's own database, for this layer only."""
        return self._database

    def collection(self, name: str) -> AsyncCollection[Any]:
        """Return a collection with majority, journaled writes and majority reads."""
        return self._database[name]

    async def check(self) -> Mapping[str, Any]:
        """Return the server's ``hello``.

        Raises:
            UnsuitableDatabaseError: a standalone, or older than `OLDEST_SERVER`.
        """
        hello = await self.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise UnsuitableDatabaseError(
                "this MongoDB is a standalone server, which cannot keep what it has acknowledged nor tell of changes; "
                "start it with --replSet NAME and run rs.initiate() once (one node is enough)"
            )
        info = await self.command("buildInfo")
        if tuple(info["versionArray"][:2]) < OLDEST_SERVER:
            raise UnsuitableDatabaseError(f"this MongoDB is version {info['version']}; 6.0 or newer is needed")
        return hello | {"version": info["version"]}

    async def command(self, name: str) -> dict[str, Any]:
        """Run a command without arguments on the server.

        Raises:
            DatabaseError: as all calls of the store.
        """
        with translated():
            return dict(await self._client.get_database("admin", codec_options=_PLAIN).command(name))

    def has_members(self) -> bool:
        """Return True if any member of the replica set answers, primary or not."""
        topology = self._client.delegate.topology_description
        return bool(topology.has_readable_server(ReadPreference.SECONDARY_PREFERRED))

    async def ping(self) -> None:
        """Make sure that the primary answers.

        Raises:
            DatabaseUnavailableError: no answer comes within two seconds.
        """
        with translated(), timeout(2):
            await self.command("ping")

    async def in_transaction(
        self,
        work: Callable[[AsyncClientSession], Coroutine[Any, Any, T]],
        *,
        level: str = "majority",
        session: AsyncClientSession | None = None,
    ) -> T:
        """Run some work in a transaction; a collision with another write repeats it after a pause.

        The driver's own loop never pauses, goes on for two minutes, and gives up on a collision at the commit. The
        transaction of a dead process holds what it has written until the server ends it. So a transaction writes new
        documents only.

        Args:
            work: takes the session that its calls have to name; a collision repeats it.
            level: the read concern; with ``snapshot`` all reads see the database at one moment.
            session: the session of the caller, instead of a fresh one.

        Raises:
            DatabaseUnavailableError: collisions go on for `_TRANSACTION_SECONDS`.
        """
        if session is None:
            async with await self.start_session() as session:  # noqa: PLR1704 - the same thing, made here
                return await self.in_transaction(work, level=level, session=session)
        until, attempt = time.monotonic() + _TRANSACTION_SECONDS, 0
        while True:
            # A transaction does not take the concerns of its collections, nor may the URL weaken them.
            session.start_transaction(
                read_concern=ReadConcern(level), write_concern=_WRITES, max_commit_time_ms=OPERATION_MS
            )
            try:
                done = await work(session)
            except BaseException as error:
                if session.delegate.in_transaction:
                    await session.abort_transaction()
                if not _is_labelled(error, "TransientTransactionError"):
                    raise
                trouble = error
            else:
                collision = await _commit(session, until)
                if collision is None:
                    return done
                trouble = collision
            await _pause(attempt, until, trouble)
            attempt += 1

    async def start_session(self) -> AsyncClientSession:
        """Return a session for `in_transaction`, which its caller ends."""
        return await self._client.start_session()

    async def kill_session(self, session_id: Any) -> None:
        """End the transaction of a session of this user; the server ends any other one later."""
        with contextlib.suppress(PyMongoError), timeout(1):
            await self._client.get_database("admin").command({"killSessions": [{"id": session_id}]})

    async def name_in_other_case(self) -> str | None:
        """Return the name of a database that differs from this name by case only, if the user may see it."""
        with contextlib.suppress(OperationFailure):
            names = await self._client.list_database_names()
            return next((name for name in names if name.lower() == self.name.lower()), None)
        return None

    async def close(self) -> None:
        """Close all connections."""
        self.abandon()

    def abandon(self) -> None:
        """Close all connections, also when their event loop is closed."""
        self._client.close()


async def _commit(session: AsyncClientSession, until: float) -> PyMongoError | None:
    """Commit a transaction; return the collision that repeats it, or ``None``."""
    attempt = 0
    while True:
        try:
            await session.commit_transaction()
        except PyMongoError as error:
            if _is_labelled(error, "TransientTransactionError"):
                return error
            if not _is_labelled(error, "UnknownTransactionCommitResult"):
                raise
            await _pause(attempt, until, error)
            attempt += 1
        else:
            return None


async def _pause(attempt: int, until: float, trouble: BaseException) -> None:
    """Wait before another try: longer each time and at random, so that colliding transactions come apart.

    Raises:
        DatabaseUnavailableError: no time is left for another try.
    """
    shortest, longest = _PAUSES
    pause = min(longest, shortest * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311 - no secret
    if time.monotonic() + pause > until:
        raise DatabaseUnavailableError(f"another write is in the way, or MongoDB hangs: {brief(trouble)}") from trouble
    await asyncio.sleep(pause)


def _is_labelled(error: BaseException, label: str) -> bool:
    return isinstance(error, PyMongoError) and error.has_error_label(label)


def is_too_slow(error: PyMongoError) -> bool:
    """Return True if a call has exceeded its limit of time or memory."""
    if isinstance(error, OperationFailure) and error.code in _TOO_COSTLY:
        return True
    # The server's own answer of that kind may come too late.
    return error.timeout and not isinstance(error, ServerSelectionTimeoutError)


def is_too_large(error: BaseException) -> bool:
    """Return True for an error about a document that is larger than MongoDB can keep."""
    return getattr(error, "code", None) in _TOO_LARGE


def is_passing(error: OperationFailure) -> bool:
    """Return True if the same call may succeed a little later, or by another user."""
    return bool(error.timeout) or error.code in _NOT_NOW | AUTHENTICATION
