"""The processes beside an embedded mongod: a launcher starts it, and a guard stops it after its last user.

Locks of the kernel (`flock`) on files of the data directory survive `kill -9`; a mere note would not:

* ``control.lock``: held exclusively for joining, leaving, starting and stopping. It protects all decisions below.
* ``users.lock``: shared by all users of mongod. A user that gets it exclusively, under control, is alone.
* ``watched.lock``: likewise. The guard waits for this lock, and so does not disturb the test of the other.
* ``guard.lock``: held exclusively by the guard as long as it lives. Contains its pid.
* ``mongod.json``: held exclusively by mongod from before its start until its end. Contains its pid and port.

This file runs as a script, by path under ``python -I -S``, so that the guard stays small: standard library only. Its
one argument is a `LaunchOrder` as JSON. The launcher locks mongod.json, forks a guard unless one lives, executes mongod
and exits. So mongod and the guard are orphans, and both the lock and the guard exist before mongod.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import sys
import time
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict

SUPPORTED = importlib.util.find_spec("fcntl") is not None
"""True if this platform has the locks that an embedded MongoDB needs; Windows has none."""
if SUPPORTED:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

BUSY = 75
"""Exit code of the launcher: a mongod runs already."""
TERM_LIMIT = 30.0
"""Seconds that a mongod has for a clean end before it is killed."""
_KILL_LIMIT = 10.0
_UNKNOWN_LIMIT = 1.0
_LOOK_PAUSE = 0.2
_PAUSE = 0.01


class LaunchOrder(TypedDict):
    """The order for the launcher.

    Keys:
        root: the data directory, absolute.
        grace: seconds that mongod outlives its last user.
        argv: mongod's command line; empty for a guard only.
        port: the port of mongod.
    """

    root: str
    grace: float
    argv: list[str]
    port: int


class RunningMongod(NamedTuple):
    """A mongod that runs."""

    pid: int
    port: int


class DataLayout:
    """Name the files of a data directory.

    Attributes:
        root: the directory, absolute and without symbolic links.
        db: the directory of mongod's own files.
        log: the log file of mongod.
        output: the output of mongod before it has a log.
        state: pid and port of mongod, locked as long as it lives.
        control: the lock for starting and stopping mongod.
        users: the lock that all users share.
        watched: the lock that all users share and the guard waits for.
        guard: the lock of the guard.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.db, self.log, self.output = root / "db", root / "mongod.log", root / "mongod.out"
        self.state, self.control = root / "mongod.json", root / "control.lock"
        self.users, self.watched, self.guard = root / "users.lock", root / "watched.lock", root / "guard.lock"


class FileLock:
    """A lock of the kernel on a whole file; it ends, at the latest, with the last process that has this file open.

    Raises:
        OSError: the file cannot be opened or locked.
    """

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
        self.close()

    def shared(self) -> bool:
        """Try to share the lock with others; return True on success."""
        return self._try(fcntl.LOCK_SH)

    def exclusive(self) -> bool:
        """Try to hold the lock alone; return True on success."""
        return self._try(fcntl.LOCK_EX)

    def wait(self) -> None:
        """Wait until this process holds the lock alone."""
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def free(self) -> None:
        """Release the lock, also for processes that were forked with it."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close this process's handle; a forked process that has one keeps the lock."""
        os.close(self.fd)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return True if a condition comes true within some seconds; it is tried at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def running(layout: DataLayout) -> RunningMongod | None:
    """Return the mongod of a data directory, or ``None``; the caller holds the control lock.

    Raises:
        TimeoutError: a starting mongod does not note its pid.
    """
    deadline = time.monotonic() + _KILL_LIMIT
    with FileLock(layout.state) as lock:
        while not lock.shared():
            if server := recorded(layout):
                return server
            if time.monotonic() > deadline:
                raise TimeoutError(f"a process holds {layout.state}, but is no mongod")
            time.sleep(_PAUSE)
    return None


def recorded(layout: DataLayout) -> RunningMongod | None:
    """Return the last mongod that noted itself in the data directory; it may have ended: see `running`."""
    try:
        note = json.loads(layout.state.read_bytes())
        return RunningMongod(pid=int(note["pid"]), port=int(note["port"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def stop(layout: DataLayout, term_limit: float = TERM_LIMIT) -> None:
    """Stop mongod cleanly, or else by force, and return after its end; the caller holds the control lock.

    Args:
        layout: the data directory.
        term_limit: seconds for a clean end.

    Raises:
        TimeoutError: this process cannot stop it.
    """
    for number, limit in ((signal.SIGTERM, term_limit), (signal.SIGKILL, _KILL_LIMIT)):
        server = running(layout)
        if server is None:
            return
        known = _is_ours(server.pid, layout)
        if known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, number)
        if wait_until(lambda: running(layout) is None, limit if known else _UNKNOWN_LIMIT):
            return
    raise TimeoutError(f"mongod of {layout.root} cannot be stopped from here (is it of another container?)")


def _is_ours(pid: int, layout: DataLayout) -> bool:
    """Return True if the pid is that of the noted mongod: in another container it is another process."""
    try:
        return os.fsencode(layout.db) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc/self").exists()


def watch(layout: DataLayout, grace: float, guard: FileLock) -> None:
    """Stop mongod after ``grace`` seconds without a user, and return after its end; ``guard`` is held by the caller."""
    with FileLock(layout.watched) as watched:
        while True:
            watched.wait()
            watched.free()
            if not _is_at(watched, layout.watched):
                return
            deadline = time.monotonic() + grace
            while (use := _look(layout, overdue=time.monotonic() > deadline)) is _Use.ORPHAN:
                time.sleep(_LOOK_PAUSE)
            if use is _Use.USER:
                continue
            # The launcher of a killed user may have counted on this guard: look again after giving up the lock.
            guard.free()
            if _idle(layout) or not guard.exclusive():
                return


class _Use(Enum):
    USER = auto()
    ORPHAN = auto()
    NOTHING = auto()


def _is_at(lock: FileLock, path: Path) -> bool:
    """Return True if the file is still in its place; a guard ends with its data directory."""
    try:
        return os.path.samestat(os.fstat(lock.fd), path.stat())
    except FileNotFoundError:
        return False


def _idle(layout: DataLayout) -> bool:
    with FileLock(layout.state) as state:
        return state.shared()


def _look(layout: DataLayout, *, overdue: bool) -> _Use:
    """Return the use of mongod; an ``overdue`` orphan is stopped."""
    with FileLock(layout.control) as control:
        control.wait()
        with FileLock(layout.users) as users:
            if not users.exclusive():
                return _Use.USER
            if overdue:
                with contextlib.suppress(PermissionError, TimeoutError):
                    stop(layout)
            return _Use.NOTHING if _idle(layout) else _Use.ORPHAN


def _leave_guard(layout: DataLayout, grace: float, state: FileLock) -> None:
    """Fork a guard, unless one lives; it closes ``state``, which is the lock of mongod."""
    guard = FileLock(layout.guard)
    if guard.exclusive() and os.fork() == 0:
        state.close()
        os.ftruncate(guard.fd, 0)
        os.write(guard.fd, str(os.getpid()).encode())
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        try:
            watch(layout, grace, guard)
        finally:
            os._exit(0)
    guard.close()


def _execute(order: LaunchOrder, state: FileLock) -> None:
    """Fork mongod, which inherits the lock of ``state``; return after its execution.

    Raises:
        OSError: it cannot be executed.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(state.fd, json.dumps({"pid": os.getpid(), "port": order["port"]}).encode())
            os.set_inheritable(state.fd, True)  # noqa: FBT003 - the standard library's signature
            # mongod refuses to start under a locale that is not installed.
            os.execve(order["argv"][0], order["argv"], {**os.environ, "LC_ALL": "C"})  # noqa: S606 - no shell is wanted
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(writer)
    # Execution closes the child's end of the pipe.
    if failure := os.read(reader, 16):
        raise OSError(int(failure), os.strerror(int(failure)), order["argv"][0])


def main(order: LaunchOrder) -> None:
    """Carry out an order; exit with 0, with `BUSY`, or with a message on the standard error output."""
    try:
        _launch(order, DataLayout(Path(order["root"])))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")


def _launch(order: LaunchOrder, layout: DataLayout) -> None:
    os.umask(0o077)
    os.chdir("/")
    state = FileLock(layout.state)
    if order["argv"]:
        if not state.exclusive():
            sys.exit(BUSY)
        os.ftruncate(state.fd, 0)
    _leave_guard(layout, order["grace"], state)
    if order["argv"]:
        _execute(order, state)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
