"""The socket from ``jobqueue step``, ``sleep``, ``wait`` and ``call`` to the process that runs their command.

A request is a line of JSON, and so is its answer. A connection asks ``{"begin": name}``, and then, for a step that has
not finished, ``{"record": result, "seconds": n}``; with ``"once": true`` the step is marked before it runs, and
``{"notDone": true}`` takes the mark back; or ``{"sleep": name, "seconds": n}``; or ``{"wait": name, "seconds":
n}``, with ``null`` for a wait without end; or ``{"call": name, "jobs": jobs}``. An answer with ``error`` has the reason
of a refusal. Only the user of the server can open the socket, and it lives as long as the command.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, JobCancelledError, JobQueueError, StepError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.step import StepKind, Wait, check_name, numbered
from jobqueue.domain.work.verdict import Failure, Success, Suspension
from jobqueue.journal import get_logger
from jobqueue.processors.reported_steps import begin_signal, begin_sleep, called, keep, may_run_once, new_call
from jobqueue.processors.written import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.work.verdict import StepReporter

log = get_logger(__name__)
VARIABLE: Final = "JOBQUEUE_STEPS"
"""The variable that names the socket."""
_LONGEST_REQUEST: Final = 2 * LONGEST
_LONGEST_PATH: Final = 100
"""Bytes of the name of a socket, on every system."""
_CANCELLED: Final = "the job was killed, or its lease was lost"
Reply = dict[str, Any]


class StepSocket:
    """Keeps the steps of one run of a command for its shell script.

    Args:
        steps: of the job.

    Attributes:
        suspended: called when the job is to be suspended; it ends the command.
        directory: of the socket alone; ``None`` while there is no socket.
        suspension: the verdict of a job that is suspended.
    """

    def __init__(self, steps: StepReporter) -> None:
        self.suspended: Callable[[], None] = lambda: None
        self.directory: Path | None = None
        self.suspension: Suspension | None = None
        self._steps = steps
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._uses: dict[str, int] = {}
        self._running: set[str] = set()
        self._begun: set[str] = set()

    @property
    def path(self) -> str | None:
        """The name of the socket."""
        return None if self.directory is None else _socket_in(self.directory)

    async def open(self) -> None:
        """Listen; without a place for a socket the command runs without one."""
        try:
            self.directory = _directory()
            self._server = await asyncio.start_unix_server(
                self._connected, _socket_in(self.directory), limit=_LONGEST_REQUEST
            )
        except OSError as error:
            log.warning("step socket not opened", error=str(error))
            self._remove()

    async def close(self) -> None:
        """End all connections, and remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._remove()

    def _remove(self) -> None:
        directory, self.directory = self.directory, None
        if directory is not None:
            with contextlib.suppress(OSError):
                Path(_socket_in(directory)).unlink(missing_ok=True)
                directory.rmdir()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answered(connection, line)).encode() + b"\n")
                await writer.drain()
                if self.suspension is not None:
                    self.suspended()
        except (OSError, ValueError) as error:
            log.info("step connection broken", error=str(error))
        finally:
            connection.leave()
            writer.close()

    async def _answered(self, connection: _Connection, line: bytes) -> Reply:
        try:
            if self.suspension is not None:
                return {"error": "the job is suspended: this start of it ends"}
            return await connection.answer(json.loads(line))
        except JobCancelledError:
            return {"error": _CANCELLED}
        except (StepError, JobQueueError) as error:
            return {"error": str(error)}
        except Exception:
            log.exception("step not kept")
            return {"error": "an internal error: the server's log tells more"}

    def take(self, name: str) -> str:
        """Return the name of a step within this run, and reserve the step for one connection.

        Raises:
            StepError: the name is not acceptable, or a step of this name runs.
        """
        try:
            check_name(name)
        except InvalidInputError as error:
            raise StepError(f"step {name!r:.120}: {error}") from None
        if name in self._running:
            raise StepError(f"two steps named {name!r} run at once: give each a name of its own")
        self._running.add(name)
        return numbered(name, self._uses.get(name, 0) + 1)

    def finish(self, name: str) -> None:
        """Note that a step has finished, so that the next use of its name is another step."""
        self._uses[name] = self._uses.get(name, 0) + 1

    def leave(self, name: str, key: str) -> None:
        """Allow other connections to run a step of this name."""
        self._running.discard(name)
        self._steps.leave(key)

    async def known(self, key: str, *, once: bool) -> Reply:
        """Return the result of a step, if it has finished; a step in doubt suspends the job."""
        if key not in self._steps.finished:
            if once and (key in self._begun or not await may_run_once(self._steps, key)):
                self.suspension = Suspension(wait=Wait(names=(key,), doubt=key))
                return {"finished": False, "doubt": True}
            if once:
                self._begun.add(key)
            await self._steps.begin(key)
            return {"finished": False}
        return {"finished": True, "result": json_form.value(await self._steps.result(key))}

    async def record(self, key: str, result: Any, seconds: float) -> Reply:
        """Keep a result."""
        return {"result": json_form.value(await keep(self._steps, key, result, seconds=seconds))}

    async def not_done(self, key: str) -> Reply:
        """Take back the mark of a step: nothing has happened."""
        await self._steps.unmark(key)
        self._begun.discard(key)
        return {"finished": False}

    async def sleep(self, key: str, seconds: float) -> Reply:
        """Suspend the job, unless the sleep is over."""
        if key in self._steps.finished:
            return {"until": None}
        step = await begin_sleep(self._steps, key, seconds)
        if step.is_finished or step.until is None:
            return {"until": None}
        self.suspension = Suspension(until=step.until, wait=Wait(names=(key,)))
        return {"until": json_form.date(step.until)}

    async def wait(self, key: str, signal: str, seconds: float | None) -> Reply:
        """Suspend the job until a signal comes, unless it is there or its time is over."""
        step = self._steps.entry(key)
        if step is None or not step.is_finished or step.kind is not StepKind.SIGNAL:
            step = await begin_signal(self._steps, key, signal, seconds)
        if not step.is_finished:
            self.suspension = Suspension(until=step.until, wait=Wait(names=(key,), signals=(signal,)))
            return {"finished": False}
        if step.error is not None:
            return {"finished": True, "late": step.error.message}
        return {"finished": True, "result": json_form.value(await self._steps.result(key))}

    async def call(self, key: str, jobs: Any) -> Reply:
        """Suspend the job until its children have ended, unless they have."""
        if key not in self._steps.finished:
            verdict = await called(self._steps, {key: new_call(key, jobs)}, Success(result=None))
            if isinstance(verdict, Failure):
                return {"finished": True, "failed": verdict.error.message}
            if isinstance(verdict, Suspension):
                self.suspension = verdict
                return {"finished": False}
        return {"finished": True, "result": json_form.value(await self._steps.result(key))}


class _Connection:
    """The step that one connection asks for."""

    def __init__(self, socket: StepSocket) -> None:
        self._socket = socket
        self._name: str | None = None
        self._key = ""

    async def answer(self, request: dict[str, Any]) -> Reply:
        """Serve a request."""
        match request:
            case {"begin": name} if self._name is None:
                self._take(name)
                reply = await self._socket.known(self._key, once=request.get("once") is True)
                return self._ended(reply) if reply["finished"] else reply
            case {"notDone": True} if self._name is not None:
                return await self._socket.not_done(self._key)
            case {"record": result, "seconds": int() | float() as seconds} if self._name is not None:
                return self._ended(await self._socket.record(self._key, result, seconds))
        return await self._wait(request)

    async def _wait(self, request: dict[str, Any]) -> Reply:
        """Serve a request that may suspend the job."""
        match request:
            case {"sleep": name, "seconds": int() | float() as seconds} if self._name is None:
                self._take(name)
                reply = await self._socket.sleep(self._key, seconds)
                return self._ended(reply) if reply["until"] is None else reply
            case {"wait": str() as name, "seconds": int() | float() | None as seconds} if self._name is None:
                self._take(name)
                reply = await self._socket.wait(self._key, name, seconds)
                return self._ended(reply) if reply["finished"] else reply
            case {"call": str() as name, "jobs": jobs} if self._name is None:
                self._take(name)
                reply = await self._socket.call(self._key, jobs)
                return self._ended(reply) if "result" in reply else reply
        return {"error": "the request is not understood: client and server are of different versions"}

    def leave(self) -> None:
        """Leave a step that has not finished."""
        if self._name is not None:
            self._socket.leave(self._name, self._key)
            self._name = None

    def _take(self, name: str) -> None:
        self._key = self._socket.take(name)
        self._name = name

    def _ended(self, reply: Reply) -> Reply:
        if self._name is not None:
            self._socket.finish(self._name)
        self.leave()
        return reply


def _directory() -> Path:
    """Make a directory that only this user can enter, with a name that a socket in it can have.

    Raises:
        OSError: there is no place for it.
    """
    for parent in (None, "/tmp"):  # noqa: S108 - a directory of its own in there
        directory = Path(tempfile.mkdtemp(prefix="jobqueue-", dir=parent))
        if len(os.fsencode(_socket_in(directory))) <= _LONGEST_PATH:
            return directory
        directory.rmdir()
    raise OSError("the name of the directory for temporary files is too long for a socket")


def _socket_in(directory: Path) -> str:
    return str(directory / "steps")
