"""The processes beside an embedded mongod: one launches it, one stops it when nobody is left who uses it.

What must survive `kill -9` is a lock of the kernel (`flock`) on a file of the data directory, never a mere note:

* ``control.lock``: held exclusively for joining, leaving, starting and stopping. All below is decided under it.
* ``users.lock``: shared by every user as long as it uses mongod. Who gets it exclusively, under control, is alone.
* ``watched.lock``: likewise. The guard sleeps on this one, so as not to disturb the test of the other.
* ``guard.lock``: held exclusively by the guard as long as it lives. Holds its pid.
* ``mongod.json``: held exclusively by mongod from before it is executed until it has ended. Holds its pid and port.

Run as a script, by path under ``python -I -S`` so that the guard stays small: standard library only, nothing of this
package. Its one argument is an `LaunchOrder` as JSON. It locks mongod.json, leaves a guard behind unless there is one,
executes mongod and exits. So both are nobody's children, mongod is locked before it runs, and a guard exists before it.
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
"""Whether this platform has the locks that an embedded MongoDB needs; Windows has not."""
if SUPPORTED:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

BUSY = 75
"""Exit code of the launcher: a mongod runs already."""
TERM_LIMIT = 30.0
"""Seconds a mongod gets for a clean end before it is killed."""
_KILL_LIMIT = 10.0
_UNKNOWN_LIMIT = 1.0
_LOOK_PAUSE = 0.2
_PAUSE = 0.01


class LaunchOrder(TypedDict):
    """The order to the launcher.

    Keys:
        root: the data directory, absolute.
        grace: seconds for which mongod is kept when all its users died.
        argv: mongod's command line; empty to start a guard only.
        port: where mongod is going to listen.
    """

    root: str
    grace: float
    argv: list[str]
    port: int


class RunningMongod(NamedTuple):
    """A mongod that runs."""

    pid: int
    port: int


class DataLayout(NamedTuple):
    """Name the files of a data directory.

    Attributes:
        root: the directory, absolute and without symbolic links.
    """

    root: Path

    @property
    def db(self) -> Path:
        """The directory of mongod's own files."""
        return self.root / "db"

    @property
    def log(self) -> Path:
        """The file mongod logs to."""
        return self.root / "mongod.log"

    @property
    def output(self) -> Path:
        """The output of mongod before it had a log."""
        return self.root / "mongod.out"

    @property
    def state(self) -> Path:
        """Pid and port of mongod, locked as long as it lives."""
        return self.root / "mongod.json"

    @property
    def control(self) -> Path:
        """The lock under which mongod is started and stopped."""
        return self.root / "control.lock"

    @property
    def users(self) -> Path:
        """The lock that every user shares."""
        return self.root / "users.lock"

    @property
    def watched(self) -> Path:
        """The lock that every user shares and the guard waits for."""
        return self.root / "watched.lock"

    @property
    def guard(self) -> Path:
        """The lock of the guard."""
        return self.root / "guard.lock"


class FileLock:
    """A whole-file lock of the kernel; it ends, at the latest, with the last process that has this opening of the file.

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
        """Try to hold the lock along with others; return whether that worked."""
        return self._try(fcntl.LOCK_SH)

    def exclusive(self) -> bool:
        """Try to hold the lock alone; return whether that worked."""
        return self._try(fcntl.LOCK_EX)

    def wait(self) -> None:
        """Hold the lock alone, however long that takes."""
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def free(self) -> None:
        """Release the lock, also for forked processes."""
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
    """Return whether ``condition`` came true within ``seconds``; it is tried at least once."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def running(layout: DataLayout) -> RunningMongod | None:
    """Return the mongod of a data directory, or ``None``; call it under the control lock.

    Raises:
        TimeoutError: one is about to start, but does not say its pid.
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
    """Return what the last mongod of the data directory noted about itself; unless it is `running` that is history."""
    try:
        note = json.loads(layout.state.read_bytes())
        return RunningMongod(pid=int(note["pid"]), port=int(note["port"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def stop(layout: DataLayout, term_limit: float = TERM_LIMIT) -> None:
    """Stop mongod cleanly, or else by force, and return when it has ended; call it under the control lock.

    Args:
        layout: the data directory.
        term_limit: seconds it gets for a clean end.

    Raises:
        TimeoutError: it cannot be stopped from here.
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
    """Return whether the pid means here what it meant to who noted it: in another container it is another process."""
    try:
        return os.fsencode(layout.db) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return not Path("/proc/self").exists()


def watch(layout: DataLayout, grace: float, guard: FileLock) -> None:
    """Stop mongod when it has had no user for ``grace`` seconds; return when there is nothing left to guard.

    Args:
        layout: the data directory.
        grace: seconds.
        guard: the guard's lock, held.
    """
    with FileLock(layout.watched) as watched:
        while True:
            watched.wait()
            watched.free()
            if not _is_at(watched, layout.watched):
                return
            deadline = time.monotonic() + grace
            while (use := _look(layout, overdue=time.monotonic() > deadline)) is _Found.ORPHAN:
                time.sleep(_LOOK_PAUSE)
            if use is _Found.USER:
                continue
            # A launcher whose user was killed meanwhile took it that there is a guard: look once more, not being one.
            guard.free()
            if _idle(layout) or not guard.exclusive():
                return


class _Found(Enum):
    USER = auto()
    ORPHAN = auto()
    NOTHING = auto()


def _is_at(lock: FileLock, path: Path) -> bool:
    """Return whether the file is still in its place; a deleted data directory is no business of its guard any more."""
    try:
        return os.path.samestat(os.fstat(lock.fd), path.stat())
    except FileNotFoundError:
        return False


def _idle(layout: DataLayout) -> bool:
    with FileLock(layout.state) as state:
        return state.shared()


def _look(layout: DataLayout, *, overdue: bool) -> _Found:
    """Return what there is; an orphan that is ``overdue`` is stopped."""
    with FileLock(layout.control) as control:
        control.wait()
        with FileLock(layout.users) as users:
            if not users.exclusive():
                return _Found.USER
            if overdue:
                with contextlib.suppress(PermissionError, TimeoutError):
                    stop(layout)
            return _Found.NOTHING if _idle(layout) else _Found.ORPHAN


def _leave_guard(layout: DataLayout, grace: float, state: FileLock) -> None:
    """Fork a guard, unless there is one; it has no part in ``state``, which is mongod's."""
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
    """Fork mongod, which inherits the lock of ``state``; return when it is executed.

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
    """Carry out the order; exit with 0, with `BUSY`, or with a message on the standard error output."""
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
