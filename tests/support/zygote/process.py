"""Start ``python -m module`` as a copy of a process that has imported everything; the copy is a process as any other.

It has a pid of its own, can be killed and stopped, and shares nothing with the test. Only the second that Python takes
to import a server is saved, a thousand times. Tests of that second start Python itself.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.zygote.parent import NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[3]
_KNOWN = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def is_possible(env: Mapping[str, str]) -> bool:
    """Tell whether a copy would be as a new process is: coverage, for one, is begun by the start of Python."""
    return not any(name.startswith(("COVERAGE_", "PYTHON")) for name in env.keys() - _KNOWN)


class ModuleProcess(subprocess.Popen[Any]):
    """A `Popen` of ``python -m module arguments``; takes the same options.

    `Popen` makes the pipes, and waits by two methods: these alone are other ones here.
    """

    _connection: socket.socket | None = None

    def __init__(self, module: str, *arguments: str, **options: Any) -> None:
        self._module, self._arguments = module, arguments
        self._is_copy = is_possible(options.get("env") or os.environ)
        command: Any = [sys.executable, "-m", module, *arguments]
        super().__init__(command, **options)

    def _execute_child(self, *given: Any) -> None:
        if not self._is_copy:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        _, _, _, _, _, cwd, env, _, _, _, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *_ = given
        request = {
            "module": self._module,
            "arguments": self._arguments,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
        }
        files = [0 if p2cread == -1 else p2cread, 1 if c2pwrite == -1 else c2pwrite, 2 if errwrite == -1 else errwrite]
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.connect(address())
        text = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self._connection, [text], files)
        self._connection.sendall(text[sent:])
        self.pid = _number(self._connection)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._connection is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        self._connection.setblocking(not wait_flags & os.WNOHANG)
        try:
            status = _number(self._connection)
        except BlockingIOError:
            return 0, 0
        self._connection.close()
        return self.pid, status

    def _internal_poll(self, *given: Any, **options: Any) -> int | None:
        if self._connection is None:
            return super()._internal_poll(*given, **options)  # type: ignore[misc, no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def run(module: str, *arguments: str, stdin: str = "", timeout: float, **options: Any) -> tuple[int, str, str]:
    """Run a module to its end; return its exit code and what it wrote.

    Args:
        module: to run.
        arguments: for the module.
        stdin: its standard input.
        timeout: seconds after which it is killed.
        options: of `Popen`.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with ModuleProcess(module, *arguments, **pipes, text=True, **options) as process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    return process.returncode, out, err


def _number(connection: socket.socket) -> int:
    text = connection.recv(NUMBER.size)
    assert len(text) == NUMBER.size, "the process that is copied has ended"
    return int(NUMBER.unpack(text)[0])


@cache
def address() -> str:
    """Return the address of the process that is copied, once for a worker of the test run."""
    directory = tempfile.TemporaryDirectory(prefix="jobqueue-zygote-")
    address = str(Path(directory.name) / "socket")
    command: Sequence[str] = [sys.executable, "-m", "tests.support.zygote.parent"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(64)
        process = subprocess.Popen(command, cwd=ROOT, stdin=listener.fileno(), stdout=subprocess.DEVNULL, stderr=None)

    def end() -> None:
        process.kill()
        process.wait()
        directory.cleanup()

    atexit.register(end)
    return address
