"""A private MongoDB: a real mongod in a data directory, shared by every process that uses the directory.

The first user starts it, later users join, and the last user stops it. A killed user does not count. Without another
user a guard stops mongod after a grace, or the next user takes it over: see `guard`.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError, DatabaseUnavailableError, NoDatabaseError
from jobqueue.store.embedded import guard
from jobqueue.store.embedded import start as starting
from jobqueue.store.embedded.guard import DataLayout, FileLock
from jobqueue.store.mongo.driver import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

_ATTEMPTS: Final = 3


@dataclass(slots=True, kw_only=True)
class EmbeddedMongo:
    """A use of the mongod of a data directory, from `acquire` until `release`; also a context manager.

    All calls block. After the death of mongod a new `acquire` starts it (on its old port if possible).

    Attributes:
        url: for any driver; names one loopback address and the replica set.
        pid: of the mongod.
        adopted: True if mongod ran already.
    """

    url: str
    pid: int
    adopted: bool
    _layout: DataLayout = field(repr=False)
    _user: _User = field(repr=False)

    @classmethod
    def acquire(
        cls, data_dir: Path, *, mongod: Path | None = None, start_timeout: float = 60.0, grace: float = 10.0
    ) -> EmbeddedMongo:
        """Use the mongod of a data directory, start it if necessary, and return when it takes writes.

        Args:
            data_dir: made if missing.
            mongod: the binary to start, instead of the one of `find_mongod`.
            start_timeout: seconds until mongod must be writable.
            grace: seconds that a mongod started here outlives its last user, if that is killed.

        Raises:
            MongodNotFoundError: there is no mongod, or it cannot be executed.
            UnsuitableDatabaseError: mongod is too old, or the data are of another version.
            DatabaseUnavailableError: mongod is not writable in time, or another mongod uses the directory.
            DatabaseError: any other reason, such as a read-only directory; the message names the fix.
        """
        if not guard.SUPPORTED:
            raise DatabaseError(
                "an embedded MongoDB needs Linux or macOS: set JOBQUEUE_MONGO_URL to a MongoDB that runs"
            )
        layout = DataLayout(data_dir.expanduser().resolve())
        with _readable_errors(layout):
            layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            layout.db.mkdir(mode=0o700, exist_ok=True)
            with _control(layout, start_timeout + guard.TERM_LIMIT), _User.joining(layout) as user:
                plan = starting.Plan(layout=layout, mongod=mongod, timeout=start_timeout, grace=grace)
                server, adopted = _adopted_or_started(plan, alone=user.was_alone)
        return cls(url=starting.url(server), pid=server.pid, adopted=adopted, _layout=layout, _user=user)

    @staticmethod
    def check_there(data_dir: Path) -> None:
        """Make sure that a directory has data of a mongod; an unreadable directory may have some.

        Raises:
            NoDatabaseError: it has none.
        """
        try:
            if any(DataLayout(data_dir.expanduser().resolve()).db.iterdir()):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        raise NoDatabaseError(
            f"there is no database in {data_dir}: name another by --mongo-url or JOBQUEUE_MONGO_URL, or by --data-dir "
            "or JOBQUEUE_DATA_DIR; the first jobqueue serve, worker or add makes one here"
        )

    def release(self, *, linger: bool = False) -> None:
        """Leave mongod; the last user stops it and waits for its end. A second call does nothing.

        Args:
            linger: let the guard stop mongod, so that a user within the grace finds it running.

        Raises:
            DatabaseError: mongod cannot be stopped.
        """
        if not self._user.joined:
            return
        try:
            # A deleted directory has no mongod any more.
            with _readable_errors(self._layout), contextlib.suppress(FileNotFoundError):
                if not linger:
                    with FileLock(self._layout.control) as control:
                        # A holder of control for so long is a user itself; otherwise the guard finds no user.
                        self._user.leave(stop=guard.wait_until(control.exclusive, guard.TERM_LIMIT))
        finally:
            self._user.leave()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class _User:
    """The two locks of a user of mongod."""

    def __init__(self, layout: DataLayout) -> None:
        self._layout = layout
        self._process = os.getpid()
        self._locks: list[FileLock] = []
        self.was_alone = False

    @classmethod
    @contextlib.contextmanager
    def joining(cls, layout: DataLayout) -> Iterator[_User]:
        """Join, under the control lock; a body that fails leaves again, and stops mongod if alone."""
        user = cls(layout)
        try:
            user._join()
            yield user
        except BaseException:
            # The caller needs the first error.
            with contextlib.suppress(OSError):
                user.leave(stop=True)
            raise

    @property
    def joined(self) -> bool:
        """True until it has left."""
        return bool(self._locks)

    def _join(self) -> None:
        for path in (self._layout.users, self._layout.watched):
            self._locks.append(FileLock(path))
        users, watched = self._locks
        self.was_alone = users.exclusive()
        # The guard holds the second lock for moments only.
        if not (users.shared() and guard.wait_until(watched.shared, guard.TERM_LIMIT)):
            raise DatabaseUnavailableError(
                f"the guard of {self._layout.root} hangs: end the process that holds watched.lock"
            )

    def leave(self, *, stop: bool = False) -> None:
        """Leave; with ``stop`` the last user stops mongod, which needs the control lock.

        A forked child only closes its handles: the use is that of its parent.
        """
        locks, self._locks = self._locks, []
        if not locks:
            return
        try:
            if os.getpid() != self._process:
                return
            for lock in locks:
                lock.free()
            if stop and locks[0].exclusive():
                guard.stop(self._layout)
        finally:
            for lock in locks:
                lock.close()


def _adopted_or_started(plan: starting.Plan, *, alone: bool) -> tuple[guard.RunningMongod, bool]:
    """Return the mongod, and True if it ran before."""
    # The launcher of a killed user may come between.
    for _ in range(_ATTEMPTS):
        if server := _adopted(plan, alone=alone):
            return server, True
        if server := starting.start(plan):
            return server, False
    raise DatabaseUnavailableError(f"another process keeps starting the MongoDB in {plan.layout.root}: try again")


def _adopted(plan: starting.Plan, *, alone: bool) -> guard.RunningMongod | None:
    """Return the running mongod; a mongod without an answer is stopped, unless others use it: it may be slow."""
    server = guard.running(plan.layout)
    if server is None:
        return None
    try:
        starting.make_writable(server, plan.layout, time.monotonic() + plan.timeout / 2)
    except DatabaseUnavailableError:
        if not alone and guard.running(plan.layout):
            raise
        guard.stop(plan.layout, plan.timeout / 2)
        return None
    starting.ensure_guard(plan)
    starting.bound_log(plan.layout, server)
    return server


@contextlib.contextmanager
def _control(layout: DataLayout, timeout: float) -> Iterator[None]:
    """Hold the control lock."""
    with FileLock(layout.control) as lock:
        if not guard.wait_until(lock.exclusive, timeout):
            raise DatabaseUnavailableError(
                f"another process has been starting or stopping the MongoDB in {layout.root} for {timeout:.0f} s: "
                f"try again, or end the process that holds {layout.control}"
            )
        yield


@contextlib.contextmanager
def _readable_errors(layout: DataLayout) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise DatabaseUnavailableError(str(error)) from error
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise DatabaseError(
            f"the data directory {layout.root} cannot be used: {error.strerror}{place}; "
            "choose another by --data-dir or JOBQUEUE_DATA_DIR"
        ) from error
    except PyMongoError as error:
        raise DatabaseError(f"the embedded MongoDB in {layout.root} failed: {error}; log: {layout.log}") from error
