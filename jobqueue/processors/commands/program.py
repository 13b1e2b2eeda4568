"""A program that runs under a supervisor process: its pipes, its end, and its termination.

The pipes are read and written without a buffer of our own, so that the program waits while a chunk is reported. The
module `jobqueue.processors.commands.supervisor` describes the messages of the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import JobCancelledError
from jobqueue.journal import get_logger
from jobqueue.processors.commands import scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.processors.commands.commands_file import Command

log = get_logger(__name__)
_SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")
_CHUNK: Final = 64 * 1024
_SLACK: Final = 2.0
_FLUSH: Final = 1.0
_PAUSE: Final = 0.005
_STRAY_SECONDS: Final = 2.0
_CALM_LOOKS: Final = 3
"""Looks in a row that find no process of a program whose supervisor was killed, before nothing is left."""
_SUBJECTS: Final = {"cwd": "its working directory", "limits": "its limits"}
_HINTS: Final = {errno.ENOEXEC: "; a script has to begin with a line such as #!/bin/sh"}
Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """The end of a program.

    Attributes:
        code: exit code, or minus the number of the signal that killed the program; ``None`` if not known.
        fault: the reason if the program could not be started.
        left: number of processes that the program left behind, and that were ended.
    """

    code: int | None = None
    fault: str | None = None
    left: int = 0


class Program:
    """Runs a command once, with all processes that it starts.

    Args:
        command: the program.
        environment: all of its environment.
        marks: ``NAME=VALUE`` of a variable in it that no other process has.
        body: its standard input.
        sinks: take the chunks of its two outputs, each before the next is read; an empty chunk is the end.
        remains: a directory that is removed after the end of the command, also if this process is killed.
    """

    def __init__(
        self,
        command: Command,
        environment: Mapping[str, str],
        *,
        marks: str,
        body: bytes,
        sinks: tuple[Sink, Sink],
        remains: Path | None = None,
    ) -> None:
        self._command = command
        self._marks = marks.encode("utf-8", "surrogateescape")
        self._body = body
        self._sinks = sinks
        self._loop = asyncio.get_running_loop()
        self._orders: asyncio.Queue[bytes] = asyncio.Queue()
        self._orders.put_nowait(_order(command, environment, remains))
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._failure: Exception | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._over = False
        self._wakes: set[asyncio.Future[None]] = set()

    def terminate(self) -> None:
        """Send TERM to all processes and, after the command's grace, KILL; `run` returns soon after that."""
        if not self._stopping.done():
            self._stop(b"T", self._command.kill_after + _SLACK)

    def kill(self) -> None:
        """Kill all processes; `run` returns soon."""
        self._stop(b"K", _SLACK)

    async def run(self) -> ExitStatus:
        """Run the program until no process is left, and the sinks have taken all output.

        Cancelling kills the program within a second.

        Raises:
            Exception: of a sink; the program was terminated for it.
        """
        try:
            with contextlib.ExitStack() as stack:
                end = await self._run(stack)
        finally:
            await self._reap()
        if self._failure is not None:
            raise self._failure
        return end

    async def _run(self, stack: contextlib.ExitStack) -> ExitStatus:
        try:
            control, pipes = self._launch(stack)
        except OSError as error:
            return ExitStatus(fault=f"its supervisor {sys.executable} cannot be started: {error.strerror}")
        sending = asyncio.create_task(self._send_orders(control))
        pumps: asyncio.Future[Any] = asyncio.gather(self._feed(pipes[0]), *map(self._pump, pipes[1:], self._sinks))
        try:
            messages = await self._read_messages(control)
            if "gone" not in messages:
                await self._kill_strays(messages)
            self._finish()
            ends: set[asyncio.Future[Any]] = {pumps, self._stopping}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({pumps}, timeout=_FLUSH)
        finally:
            sending.cancel()
            pumps.cancel()
            # The pipes may only be closed when no task waits for them any more.
            await asyncio.gather(sending, pumps, return_exceptions=True)
        return self._end(messages)

    def _launch(self, stack: contextlib.ExitStack) -> tuple[socket.socket, list[io.FileIO]]:
        """Start the supervisor; return our ends of its socket and of the three pipes.

        Raises:
            OSError: the supervisor cannot be started.
        """
        control, theirs = socket.socketpair()
        stack.callback(control.close)
        ours, streams = [], []
        with contextlib.ExitStack() as child_ends:
            child_ends.callback(theirs.close)
            for mode in ("wb", "rb", "rb"):
                reader, writer = os.pipe()
                own, other = (writer, reader) if mode == "wb" else (reader, writer)
                child_ends.callback(os.close, other)
                os.set_blocking(own, False)
                ours.append(stack.enter_context(io.FileIO(own, mode)))
                streams.append(other)
            self._supervisor = subprocess.Popen(  # noqa: S603 - our own interpreter and script, no shell
                [sys.executable, "-I", "-S", "-X", "utf8", str(_SUPERVISOR), str(theirs.fileno())],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                pass_fds=(theirs.fileno(),),
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                start_new_session=True,
            )
        control.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return control, ours

    async def _send_orders(self, control: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self._loop.sock_sendall(control, await self._orders.get())

    async def _read_messages(self, control: socket.socket) -> dict[str, list[str]]:
        """Return the messages of the supervisor until its end, by the first word of each line."""
        received = b""
        with contextlib.suppress(OSError):
            while data := await self._loop.sock_recv(control, 4096):
                received += data
        lines = [line.split() for line in received.decode().splitlines()]
        return {word: rest for word, *rest in reversed(lines)}

    async def _feed(self, pipe: io.FileIO) -> None:
        body = memoryview(self._body)
        # A program need not read its input.
        with contextlib.suppress(BrokenPipeError):
            while body and not self._over:
                written = pipe.write(body)
                if written is None:
                    await self._wait(self._loop.add_writer, self._loop.remove_writer, pipe)
                else:
                    body = body[written:]
        pipe.close()

    async def _pump(self, pipe: io.FileIO, sink: Sink) -> None:
        while True:
            chunk = await self._read(pipe)
            if self._failure is None:
                await self._sink(sink, chunk)
            if not chunk:
                return
            # A program that prints without a pause must not keep the event loop.
            await asyncio.sleep(0)

    async def _sink(self, sink: Sink, chunk: bytes) -> None:
        try:
            await sink(chunk)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._failure = JobCancelledError()
        except Exception as error:  # noqa: BLE001 - `run` raises it when the program has ended
            self._failure = error
        if self._failure is not None:
            self.terminate()

    async def _read(self, pipe: io.FileIO) -> bytes:
        while (chunk := pipe.read(_CHUNK)) is None:
            if self._over:
                return b""
            await self._wait(self._loop.add_reader, self._loop.remove_reader, pipe)
        return chunk

    async def _wait(self, add: Callable[..., object], remove: Callable[[io.FileIO], object], pipe: io.FileIO) -> None:
        """Wait until a pipe is ready, or its other end is closed."""
        wake: asyncio.Future[None] = self._loop.create_future()
        self._wakes.add(wake)
        add(pipe, _settle, wake)
        try:
            await wake
        finally:
            remove(pipe)
            self._wakes.discard(wake)

    def _finish(self) -> None:
        """End the pumps when the pipes are empty, even if other processes hold the pipes open."""
        self._over = True
        for wake in self._wakes:
            _settle(wake)

    def _stop(self, letter: bytes, limit: float) -> None:
        _settle(self._stopping)
        self._orders.put_nowait(letter)
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self._loop.call_later(limit, self._kill_supervisor)

    def _kill_supervisor(self) -> None:
        if self._supervisor is not None:
            self._supervisor.kill()

    async def _reap(self) -> None:
        if self._supervisor is None:
            return
        if self._limit is not None:
            self._limit.cancel()
        # Our end of the socket is closed, which ends the supervisor and the program.
        self._limit = self._loop.call_later(_SLACK, self._kill_supervisor)
        try:
            while self._supervisor.poll() is None:  # noqa: ASYNC110 - without a thread, nothing tells of a child's end
                await asyncio.sleep(_PAUSE)
        finally:
            self._limit.cancel()

    async def _kill_strays(self, messages: Mapping[str, Sequence[str]]) -> None:
        """Kill the processes of a program whose supervisor was killed."""
        session = int(messages["started"][0]) if "started" in messages else None
        log.warning("supervisor killed", command=self._command.name)
        deadline = time.monotonic() + _STRAY_SECONDS
        calm = 0
        # A process that has just been forked, or changes its program, shows no mark for a moment.
        while time.monotonic() < deadline and calm < _CALM_LOOKS:
            strays = _strays(session, self._marks)
            calm = 0 if strays else calm + 1
            for pid in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(_PAUSE)

    def _end(self, messages: Mapping[str, Sequence[str]]) -> ExitStatus:
        left = int(messages["left"][0]) if "left" in messages else 0
        if "failed" in messages:
            return ExitStatus(fault=self._explain(*messages["failed"]))
        if "exit" in messages:
            return ExitStatus(code=int(messages["exit"][0]), left=left)
        if "signal" in messages:
            return ExitStatus(code=-int(messages["signal"][0]), left=left)
        return ExitStatus(fault=None if "started" in messages else "its supervisor ended too early")

    def _explain(self, what: str, number: str) -> str:
        code = int(number)
        subject = _SUBJECTS.get(what, self._command.argv[0])
        if what == "cwd":
            subject = f"{subject} {self._command.cwd}"
        told = f"{subject}: {os.strerror(code) if code else 'not enough memory'}"
        if what == "program" and (fault := scripts.fault(Path(self._command.argv[0]))):
            return f"{told}; the script {fault}"
        return f"{told}{_HINTS.get(code, '')}"


def _order(command: Command, environment: Mapping[str, str], remains: Path | None) -> bytes:
    limits = {"memory": command.max_memory, "cpu": command.max_cpu}
    order = {
        "argv": command.argv,
        "env": dict(environment),
        "cwd": None if command.cwd is None else str(command.cwd),
        "grace": command.kill_after,
        "remains": None if remains is None else str(remains),
        "limits": {name: most for name, most in limits.items() if most is not None},
    }
    return json.dumps(order).encode() + b"\n"


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _strays(session: int | None, marks: bytes) -> list[int]:
    """Return the pids of processes of a session, or with a variable in their first environment."""
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            state, _, _, its_session, *_ = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            ours = int(its_session) == session or marks in (entry / "environ").read_bytes().split(b"\0")
            if ours and state != b"Z":
                pids.append(int(entry.name))
    return pids
