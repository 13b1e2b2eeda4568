"""Run a service until a signal asks it to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from jobqueue.cli.process import early
from jobqueue.cli.process.forks import ForkGuard
from jobqueue.cli.render import errors
from jobqueue.domain.errors import DatabaseError, JobQueueError
from jobqueue.journal import get_logger
from jobqueue.services.server import LOOK_SECONDS, EmbeddedRestarter
from jobqueue.services.work.loops import Loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from jobqueue.services.application import Runtime
    from jobqueue.services.work.dispatcher import Dispatcher
    from jobqueue.services.work.lanes import Lane

T = TypeVar("T")
log = get_logger(__name__)
_STUCK_SECONDS: Final = 10.0
"""Longest wait for handlers after their jobs are returned; then they are abandoned."""
_MOST_FILES: Final = 65_536
_EXIT_SECONDS: Final = 5.0
"""Longest exit of the interpreter after all work; threads of handlers can block it for ever."""


class StopSignals:
    """Signals received so far.

    Attributes:
        asked: set by the first signal: running jobs finish.
        hurried: set by the second signal: running jobs are returned to their queues.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def signal(self) -> None:
        """Take a signal."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    async def unless_asked(self, opening: Coroutine[None, None, T], *, cancel: bool) -> T | None:
        """Return the result of ``opening``, or ``None`` if a signal cancelled it.

        Args:
            opening: opens a resource.
            cancel: a signal may cancel it; otherwise its end is awaited.
        """
        task = asyncio.ensure_future(opening)
        await first(task, self.asked)
        if not task.done() and cancel:
            task.cancel()
            await asyncio.wait({task})
            return None if task.cancelled() else await task
        return await task


async def first(task: asyncio.Future[Any], event: asyncio.Event, *, within: float | None = None) -> None:
    """Wait until a task is done or an event is set, at most ``within`` seconds."""
    waiting = asyncio.ensure_future(event.wait())
    both: set[asyncio.Future[Any]] = {task, waiting}
    try:
        await asyncio.wait(both, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def open_runtime(
    stop: StopSignals, opening: Callable[[], Coroutine[None, None, Runtime]], *, embedded: bool
) -> Runtime | None:
    """Connect, or return ``None`` if a signal stops it; an embedded MongoDB is never left half started."""
    runtime = await stop.unless_asked(opening(), cancel=not embedded)
    if runtime is not None and stop.asked.is_set():
        await runtime.close()
        return None
    return runtime


@contextlib.asynccontextmanager
async def background(runtime: Runtime) -> AsyncIterator[None]:
    """Run the maintenance and keep an embedded MongoDB alive for the time of the block."""
    await runtime.start()
    _freeze()
    revival = Loop("embedded MongoDB", EmbeddedRestarter(runtime).run_once, every=LOOK_SECONDS)
    revival.turns.count = runtime.metrics.loop_failed
    reviving = asyncio.create_task(revival.run())
    try:
        yield
    finally:
        reviving.cancel()
        await asyncio.wait({reviving})


@contextlib.asynccontextmanager
async def working(
    runtime: Runtime, lanes: Callable[[], Sequence[Lane]], stop: StopSignals
) -> AsyncIterator[asyncio.Task[None]]:
    """Run the maintenance and the jobs of these lanes for the time of the block; yield the task that claims jobs."""
    async with background(runtime):
        dispatcher = runtime.dispatcher(lanes)
        claiming = asyncio.create_task(dispatcher.run(), name="claiming")
        try:
            yield claiming
        finally:
            log.info("shutdown started")
            await drain(dispatcher, claiming, stop, runtime.settings.drain_timeout)


async def drain(dispatcher: Dispatcher, claiming: asyncio.Task[None], stop: StopSignals, grace: float) -> None:
    """Stop claiming, wait ``grace`` seconds or until hurried for running jobs, and return the others to their queues.

    Returns even if handlers do not end or the database is away: then the leases of these jobs expire.

    Raises:
        Exception: an error ended the claiming.
    """
    if dispatcher.running:
        log.info("shutdown awaited", running=dispatcher.running, seconds=grace)
    stopping = asyncio.create_task(dispatcher.stop(grace))
    await first(stopping, stop.hurried, within=grace + _STUCK_SECONDS)
    if not stopping.done():
        log.info("shutdown hurried", running=dispatcher.running)
        hurried = asyncio.create_task(dispatcher.stop(0))
        await asyncio.wait({stopping, hurried}, timeout=_STUCK_SECONDS)
    both: set[asyncio.Task[Any]] = {stopping, claiming}
    await asyncio.wait(both, timeout=_STUCK_SECONDS)
    if not stopping.done():
        log.warning("handlers abandoned", running=dispatcher.running)
    elif given_back := stopping.result():
        log.info("jobs returned", count=given_back)
    if claiming.done():
        claiming.result()


def _freeze() -> None:
    """Keep all that is loaded by now out of garbage collections: a full one would go over it, and hold up the loop."""
    gc.collect()
    gc.freeze()


def raise_file_limit() -> None:
    """Raise the limit of open files and connections as far as the system allows; the default is often only 1,024."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < target:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def run_service(service: Callable[[StopSignals], Coroutine[None, None, None]]) -> int:
    """Run a service under signals: SIGTERM, SIGINT or SIGHUP stop it, a second signal hurries.

    Returns:
        The exit code; errors are printed. The process ends here if a handler's thread would block the exit.
    """
    runner = asyncio.Runner(loop_factory=_loop_factory())
    guard = ForkGuard(early.hand_over())
    try:
        _run(runner.get_loop(), _under_signals(service))
        code = errors.OK
    except JobQueueError as error:
        code = errors.report(error)
    except Exception:
        log.exception("service failed")
        code = errors.ERROR
    finally:
        guard.end()
    _leave_soon(code)
    runner.close()
    if any(thread.name.startswith("job-") for thread in threading.enumerate()):
        log.warning("handler threads abandoned")
        _leave(code)
    return code


def _run(loop: asyncio.AbstractEventLoop, service: Coroutine[None, None, None]) -> None:
    """Run the event loop until the service ends; an interrupt that a task of a handler raises does not end it.

    Signals never raise an interrupt here. The task that raised it ends with it, as does the handler that awaits it.
    """
    task = loop.create_task(service)
    while True:
        try:
            return loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit):
            if task.done():
                raise
            log.exception("task interrupted")


async def _under_signals(service: Callable[[StopSignals], Coroutine[None, None, None]]) -> None:
    stop = StopSignals()
    loop = asyncio.get_running_loop()
    for number in early.SIGNALS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop.signal)
    try:
        await service(stop)
    except DatabaseError as error:
        if not stop.asked.is_set():
            raise
        # A stop of the whole machine stops the database too.
        log.warning("database lost at shutdown", error=str(error))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: the extra `speed`
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _leave_soon(code: int) -> None:
    """End the process even if a thread of a handler blocks the exit of the interpreter."""
    timer = threading.Timer(_EXIT_SECONDS, _leave, [code])
    timer.daemon = True
    timer.start()


def _leave(code: int) -> NoReturn:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
