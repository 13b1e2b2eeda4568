"""Run one command, and end all processes that it starts, after its own end and after a kill of the server.

This file runs as a script under ``python -I -S`` so that it starts fast: it uses the standard library only, nothing of
this package. Its argument is the number of a socket to the server. The server sends an `Order`, as one line of JSON,
and then single letters: ``T`` ends the command with TERM and, after the grace, KILL; ``K`` kills it at once. The end of
the
socket is the end of the server, also by ``kill -9``. The supervisor sends lines, in this order:

* ``started PID``: the program is about to be executed;
* ``failed WHAT ERRNO``: the ``cwd``, the ``limits`` or the ``program`` kept the program from starting;
* ``exit CODE`` or ``signal NUMBER``: the end of the program itself;
* ``left COUNT``: the number of processes left behind, which are ended as well;
* ``gone``: no process is left.

On Linux, orphans of the command become children of this process, so that "no child is left" means that no process is
left. On other systems, processes that leave the command's process group are not found.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing takes longer than all the rest
if TYPE_CHECKING:
    from typing import TypedDict

    class Order(TypedDict):
        """A command with all of its environment, the seconds between TERM and KILL, and the limits by resource.

        ``remains`` is a directory of files, which is removed in the end.
        """

        argv: list[str]
        env: dict[str, str]
        cwd: str | None
        grace: float
        remains: str | None
        limits: dict[str, int]


LINUX = sys.platform == "linux"
SERVER_GONE_GRACE = 0.5
"""Seconds between TERM and KILL when the server is gone."""
_LINGER = 0.5
_STUCK = 5.0
_AGAIN = 0.02
_CHECK = 0.5
_PASSES = 3
_XCPU_GRACE = 5
_SET_DEATH_SIGNAL = 1
_SET_SUBREAPER = 36
_LIMITS = {"memory": resource.RLIMIT_AS, "cpu": resource.RLIMIT_CPU}


def descendants(root: int) -> dict[int, int]:
    """Return the pids of the descendants of a process, with their process groups, from ``/proc``."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - importing pathlib takes as long as all the rest
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - as above
                    _, parent, group, *_ = file.read().rpartition(b")")[2].split()
            except (OSError, ValueError):
                continue
            children.setdefault(int(parent), []).append((int(name), int(group)))
    groups: dict[int, int] = {}
    waiting = [root]
    while waiting:
        inner = children.pop(waiting.pop(), [])
        groups.update(inner)
        waiting += [pid for pid, _ in inner]
    return groups


class ProcessTree:
    """The command, which is pid ``root`` and leads a process group, and all of its descendants."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.status: int | None = None

    def reap(self) -> bool:
        """Reap ended processes, and return true if a process is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return not LINUX and self._signal_group(0)
            if pid == 0:
                return True
            if pid == self.root:
                self.status = status

    def count(self) -> int:
        """Return the number of processes."""
        return len(descendants(os.getpid())) if LINUX else 1

    def signal(self, number: int) -> None:
        """Send a signal to every process, including processes that are forked meanwhile."""
        if not LINUX:
            self._signal_group(number)
            return
        reached: set[int] = set()
        for _ in range(_PASSES):
            groups = descendants(os.getpid())
            fresh = groups.keys() - reached
            if not fresh:
                return
            # First to the group, which no fork escapes. The number of a group is not reused while it has a member.
            if not reached and self.root in groups.values():
                self._signal_group(number)
            for pid in fresh:
                if groups[pid] != self.root or reached:
                    _kill(pid, number)
            reached |= fresh

    def _signal_group(self, number: int) -> bool:
        try:
            os.killpg(self.root, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


class Supervisor:
    """Waits until no process of the command is left, and ends processes when that is due."""

    def __init__(self, control: int, tree: ProcessTree, grace: float) -> None:
        self._control = control
        self._tree = tree
        self._grace = grace
        self._server: int | None = os.getppid()
        self._end_sent = False
        self._plan: list[tuple[float, int]] = []
        self._killed_at: float | None = None
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._woken, wakes = os.pipe()
        for end in (self._woken, wakes):
            os.set_blocking(end, False)
        self._poll.register(self._woken, select.POLLIN)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.end(self._grace))

    def run(self) -> bool:
        """Return true when no process is left, false if one cannot be killed."""
        while self._tree.reap():
            self._notice_end()
            if not self._act():
                return False
            self._listen()
        self._notice_end()
        return True

    def end(self, grace: float, delay: float = 0) -> None:
        """Send TERM after a delay, and KILL after the grace; an earlier end that was requested stays."""
        start = time.monotonic() + delay
        plan = [(start, int(signal.SIGTERM)), (start + grace, int(signal.SIGKILL))] if grace else []
        plan = plan or [(start, int(signal.SIGKILL))]
        if self._killed_at is None and (not self._plan or plan[-1] < self._plan[-1]):
            self._plan = plan

    def _notice_end(self) -> None:
        status = self._tree.status
        if status is None or self._end_sent:
            return
        self._end_sent = True
        if os.WIFSIGNALED(status):
            tell(self._control, f"signal {os.WTERMSIG(status)}")
        else:
            tell(self._control, f"exit {os.WEXITSTATUS(status)}")
        self.end(self._grace, _LINGER)

    def _act(self) -> bool:
        now = time.monotonic()
        if self._killed_at is not None:
            if now - self._killed_at > _STUCK:
                return False
            self._tree.signal(signal.SIGKILL)
        elif self._plan and self._plan[0][0] <= now:
            _, number = self._plan.pop(0)
            if self._end_sent and (count := self._tree.count()):
                tell(self._control, f"left {count}")
            self._tree.signal(number)
            if number == signal.SIGKILL:
                self._killed_at = now
            else:
                self._tree.signal(signal.SIGCONT)
        return True

    def _listen(self) -> None:
        wait = _CHECK
        if self._killed_at is not None:
            wait = _AGAIN
        elif self._plan:
            wait = min(wait, max(0.0, self._plan[0][0] - time.monotonic()))
        for fd, _ in self._poll.poll(wait * 1000 + 1):
            if fd == self._woken:
                os.read(fd, 4096)
            else:
                self.obey(_receive(fd))
        # A fork of the server without an exec would keep the socket open after the end of the server.
        if self._server not in {None, os.getppid()}:
            self.obey(b"")

    def obey(self, letters: bytes) -> None:
        """Obey letters of the server; no letter means that the server is gone."""
        if not letters:
            self._poll.unregister(self._control)
            self._server = None
            self.end(min(self._grace, SERVER_GONE_GRACE))
        elif b"K" in letters:
            self.end(0)
        else:
            self.end(self._grace)


def tell(control: int, line: str) -> None:
    """Send a line to the server, which may be gone."""
    try:
        os.write(control, f"{line}\n".encode())
    except OSError:
        return


def _receive(control: int) -> bytes:
    try:
        return os.read(control, 65536)
    except OSError:
        return b""


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _prctl(option: int, value: int) -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _limit(name: str, most: int) -> None:
    _, hard = resource.getrlimit(_LIMITS[name])
    # The soft limit of processor time sends XCPU, which names the reason; the hard limit sends KILL.
    most_hard = most + _XCPU_GRACE if name == "cpu" else most
    if hard != resource.RLIM_INFINITY:
        most, most_hard = min(most, hard), min(most_hard, hard)
    resource.setrlimit(_LIMITS[name], (most, most_hard))


def _execute(order: Order, control: int, supervisor: int) -> str:
    """Turn this process, a fork, into the command; return a failure as ``WHAT ERRNO``."""
    what = "program"
    try:
        os.setsid()
        # A program does not expect the signals to be ignored that the server and Python ignore.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        # A kill of this process's parent kills at least the program itself.
        _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(127)
        # This line must come before anything that the program may do to its parent.
        tell(control, f"started {os.getpid()}")
        what = "cwd"
        if order["cwd"] is not None:
            os.chdir(order["cwd"])
        what = "limits"
        for name, most in order["limits"].items():
            _limit(name, most)
        what = "program"
        os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - no shell is wanted
    except OSError as error:
        return f"{what} {error.errno}"


def _start(order: Order, control: int) -> int | str:
    """Start the command; return its pid, or a failure as ``WHAT ERRNO``."""
    supervisor = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        failure = "program 0"
        try:
            failure = _execute(order, control, supervisor)
        finally:
            os.write(writer, failure.encode())
            os._exit(127)
    os.close(writer)
    # Execution closes the command's end of this pipe.
    failure = os.read(reader, 64).decode()
    os.close(reader)
    return failure or pid


def _release_streams() -> None:
    """Close the standard streams, so that the server sees the ends of the command's streams."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)


def _remove(directory: str | None) -> None:
    """Remove a directory and the files in it."""
    try:
        for name in os.listdir(directory) if directory else ():  # noqa: PTH208 - as above
            os.unlink(f"{directory}/{name}")  # noqa: PTH108 - as above
        if directory:
            os.rmdir(directory)  # noqa: PTH106 - as above
    except OSError:
        return


def main(control: int) -> None:
    """Run the command of the order that comes over the socket ``control``."""
    os.set_inheritable(control, False)  # noqa: FBT003 - the standard library's signature
    text = b""
    while b"\n" not in text:
        part = _receive(control)
        if not part:
            return
        text += part
    text, _, letters = text.partition(b"\n")
    order: Order = json.loads(text)
    _prctl(_SET_SUBREAPER, 1)
    try:
        started = _start(order, control)
    except OSError as error:
        started = f"program {error.errno}"
    _release_streams()
    if isinstance(started, str):
        _remove(order["remains"])
        tell(control, f"failed {started}")
        tell(control, "gone")
        return
    watch = Supervisor(control, ProcessTree(started), order["grace"])
    if letters:
        watch.obey(letters)
    is_gone = watch.run()
    _remove(order["remains"])
    if is_gone:
        tell(control, "gone")


if __name__ == "__main__":
    main(int(sys.argv[1]))
