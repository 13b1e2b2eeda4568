"""A worker without access to the database: it claims the jobs of a queue over HTTP and runs functions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.client.calls import made
from jobqueue.client.errors import UnauthorizedError
from jobqueue.client.transport import Call
from jobqueue.client.work.claimed import Claimed
from jobqueue.client.work.run import HttpRun, beat
from jobqueue.domain.durations import is_number, is_whole
from jobqueue.domain.errors import ForbiddenError, InvalidInputError, JobQueueError
from jobqueue.domain.values.checks import check_number, check_queue, check_version
from jobqueue.domain.work.drain import WorkerDrainedError
from jobqueue.journal import get_logger
from jobqueue.loop_thread import LoopThread
from jobqueue.tasks.registry import HandlerRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.client.api_calls import ApiCalls
    from jobqueue.client.transport import Transport

log = get_logger(__name__)
VERSION_VARIABLE: Final = "JOBQUEUE_VERSION"
POLL_SECONDS: Final = 5.0
"""Seconds of one claim that waits; a worker that stops waits for its end, so that it leaves no job unattended."""
_LONGEST_POLL: Final = 60.0
_BUSY_SECONDS: Final = 0.5
"""The same while a handler has as many jobs as it takes: its end makes room for others."""
_CLAIM_SECONDS: Final = 10.0
_PAUSES: Final = (0.5, 5.0)
"""Seconds after a claim that failed: the first, and the longest."""
_STOP_SECONDS: Final = 10.0
_NO_CONTENT: Final = 204


class Worker(HandlerRegistry):
    """Claims the jobs of one queue and runs the functions that are registered for their types.

    ``@worker.handler(TYPE)`` and ``@worker.task()`` register functions as those of `JobQueue` do.

    Args:
        client: of the server.
        queue: the queue.
        handlers: other registered functions, such as a `JobQueue` whose handlers of this queue run here.
        concurrency: jobs at a time.
        lease: seconds for which a job is held without a heartbeat, in place of its own.
        drain: seconds for which running jobs may go on after `stop`; then they go back, uncounted.
        poll: seconds for which one request waits for a job, at most 60; a worker that stops waits for its end.
        name: of the worker, 1 to 200 printable characters; made of the host and the process by default.

    Raises:
        InvalidInputError: a value cannot be used.
    """

    def __init__(
        self,
        client: ApiCalls,
        queue: str,
        *,
        handlers: HandlerRegistry | None = None,
        concurrency: int = 10,
        lease: float | None = None,
        drain: float = 30.0,
        poll: float = POLL_SECONDS,
        name: str | None = None,
    ) -> None:
        super().__init__(client, check_queue(queue))
        if not is_whole(concurrency) or concurrency < 1:
            raise InvalidInputError({"concurrency": ["must be at least 1"]})
        if lease is not None:
            check_number("lease", lease)
        version = os.environ.get(VERSION_VARIABLE)
        self._version = check_version(version, VERSION_VARIABLE) if version else None
        if not is_number(poll) or not 0 < poll <= _LONGEST_POLL:
            raise InvalidInputError({"poll": [f"must be more than 0 and at most {_LONGEST_POLL:g} seconds"]})
        self.queue = queue
        self.name = name or f"{socket.gethostname()[:100]}:{os.getpid()}:{secrets.token_hex(3)}"
        self._client = client
        self._others = handlers
        self._concurrency = concurrency
        self._lease = lease
        self._drain = drain
        self._poll = poll
        self._stopping = asyncio.Event()
        self._begun = asyncio.Event()
        self._runs: dict[asyncio.Task[None], HttpRun] = {}

    async def work(self) -> None:
        """Run jobs until `stop`, SIGTERM or SIGINT, or until somebody drains this worker.

        A second signal gives running jobs back at once.

        Raises:
            InvalidInputError: there is no handler for the queue.
            UnauthorizedError, ForbiddenError: the token does not allow claims.
        """
        mine = dict(self.handlers)
        for key, handler in (self._others.handlers if self._others is not None else {}).items():
            mine.setdefault(key, handler)
        if declared := {**self.declarations, **(self._others.declarations if self._others is not None else {})}:
            log.warning(
                "schedules not declared", schedules=", ".join(sorted(declared)), hint="start a worker with a database"
            )
        types = sorted(kind for queue, kind in mine if queue == self.queue)
        if not types:
            raise InvalidInputError({"handlers": [f"there are none for the queue {self.queue}"]})
        self._stopping = asyncio.Event()
        self._begun.set()
        room = asyncio.Event()
        transport, beats = self._client.transport(), self._client.transport()
        beating = LoopThread(beats.close)
        try:
            with self._signals():
                try:
                    await self._claims(transport, beating, beats, mine, types, room)
                except asyncio.CancelledError:
                    self._drain = 0
                    raise
                finally:
                    await self._end()
        finally:
            await asyncio.to_thread(beating.stop)
            await transport.close()

    def run(self) -> None:
        """Run jobs in a plain program, as `work`."""
        asyncio.run(self._whole())

    def stop(self) -> None:
        """Claim no further jobs; `work` ends when the running jobs have ended, or were given back."""
        self._stopping.set()

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """Run jobs during the block; its end finishes running jobs or gives them back."""
        task = asyncio.create_task(self.work())
        try:
            yield self
        finally:
            await _first(self._begun.wait(), asyncio.wait({task}))
            self.stop()
            await task

    async def _whole(self) -> None:
        try:
            await self.work()
        finally:
            await self._client.close()

    async def _claims(
        self,
        transport: Transport,
        beating: LoopThread,
        beats: Transport,
        handlers: dict[tuple[str, str], Any],
        types: list[str],
        room: asyncio.Event,
    ) -> None:
        """Claim jobs and begin their runs until the worker stops."""
        stopping, pause = self._stopping, _PAUSES[0]
        while not stopping.is_set():
            room.clear()
            running = Counter(run.type for run in self._runs.values())
            free = [
                kind for kind in types if running[kind] < (handlers[self.queue, kind].concurrency or running[kind] + 1)
            ]
            if len(self._runs) >= self._concurrency or not free:
                await _first(room.wait(), stopping.wait())
                continue
            try:
                claimed = await self._claim(
                    transport, free, self._poll if free == types else min(self._poll, _BUSY_SECONDS)
                )
            except JobQueueError as error:
                if isinstance(error, WorkerDrainedError):
                    log.info("worker drained", running=len(self._runs))
                    self.stop()
                    return
                if _is_final(error):
                    raise
                log.warning("claim failed", queue=self.queue, error=str(error))
                spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads claims
                await _first(asyncio.sleep(pause * spread), stopping.wait())
                pause = min(pause * 2, _PAUSES[1])
                continue
            pause = _PAUSES[0]
            if claimed is not None:
                self._begin(HttpRun(self._client, transport, claimed, handlers), beating, beats, room)

    async def _claim(self, transport: Transport, types: list[str], wait: float) -> Claimed | None:
        body: dict[str, Any] = {"worker": self.name, "types": types, "wait": wait}
        if self._lease is not None:
            body["lease"] = self._lease
        if self._version is not None:
            body["version"] = self._version
        place = f"/v1/queues/{self.queue}/claim"
        call = Call(method="POST", path=place, body=body, keyed=True, wait=wait, within=_CLAIM_SECONDS)
        reply = await transport.send(call)
        return None if reply.status == _NO_CONTENT else made(lambda form: Claimed.read(form, self._lease), reply)

    def _begin(self, run: HttpRun, beating: LoopThread, beats: Transport, room: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        heart = beating.submit(beat(beats, run.claimed, run, loop))

        async def whole() -> None:
            try:
                await run.run()
            finally:
                heart.cancel()

        task = asyncio.create_task(whole())
        self._runs[task] = run

        def ended(ended_task: asyncio.Task[None]) -> None:
            del self._runs[ended_task]
            room.set()
            if not ended_task.cancelled() and (error := ended_task.exception()) is not None:
                log.error("run failed", job_id=run.claimed.job.id, exc_info=error)

        task.add_done_callback(ended)

    async def _end(self) -> None:
        """Wait for a while for running jobs, and give the others back."""
        if self._runs:
            await asyncio.wait(set(self._runs), timeout=self._drain)
        for _ in range(2):
            for run in list(self._runs.values()):
                run.release()
            if self._runs:
                await asyncio.wait(set(self._runs), timeout=_STOP_SECONDS)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT, where this is the main thread; one signal stops all workers of a process."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not _working:
            for number in numbers:
                loop.add_signal_handler(number, _stop_all)
        _working.add(self)
        try:
            yield
        finally:
            _working.discard(self)
            for number in () if _working else numbers:
                loop.remove_signal_handler(number)

    def asked_to_stop(self) -> None:
        """Stop at a signal; a second one gives running jobs back at once."""
        if self._stopping.is_set():
            self._drain = 0
            for run in self._runs.values():
                run.release()
        self.stop()


_working: Final[set[Worker]] = set()
"""The workers of this process."""


def _stop_all() -> None:
    for worker in list(_working):
        worker.asked_to_stop()


async def _first(*waits: Any) -> None:
    """Wait for the end of any of some coroutines."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _is_final(error: JobQueueError) -> bool:
    """Return True if no further claim can succeed."""
    return isinstance(error, ForbiddenError | InvalidInputError | UnauthorizedError)
