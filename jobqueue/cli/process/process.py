"""Run a service until a signal asks it to stop."""

from __future__ import annotations

import asyncio
import contextlib
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
"""What may pass between giving jobs back and the end of the last handler, before it is abandoned."""
_MOST_FILES: Final = 65_536
_EXIT_SECONDS: Final = 5.0
"""What the interpreter may need to end when all work is done; other people's threads can hold it up for ever."""


class StopSignals:
    """What the signals have asked for so far.

    Attributes:
        asked: the first has come: finish.
        hurried: the second has come: give back what runs.
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
        """Return what ``opening`` does, or ``None`` if it was cancelled because it is asked to stop.

        Args:
            opening: what has to be closed again when it is done.
            cancel: whether it may be cancelled; otherwise it is waited for.
        """
        task = asyncio.ensure_future(opening)
        await first(task, self.asked)
        if not task.done() and cancel:
            task.cancel()
            await asyncio.wait({task})
            return None if task.cancelled() else await task
        return await task


async def first(task: asyncio.Future[Any], event: asyncio.Event, *, within: float | None = None) -> None:
    """Wait until a task is done or an event has happened, for ``within`` seconds if that is given."""
    waiting = asyncio.ensure_future(event.wait())
    both: set[asyncio.Future[Any]] = {task, waiting}
    try:
        await asyncio.wait(both, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def open_runtime(
    stop: StopSignals, opening: Callable[[], Coroutine[None, None, Runtime]], *, embedded: bool
) -> Runtime | None:
    """Connect, or return ``None`` if asked to stop meanwhile; an embedded MongoDB is not left half started."""
    runtime = await stop.unless_asked(opening(), cancel=not embedded)
    if runtime is not None and stop.asked.is_set():
        await runtime.close()
        return None
    return runtime


@contextlib.asynccontextmanager
async def background(runtime: Runtime) -> AsyncIterator[None]:
    """Do the maintenance, and keep an embedded MongoDB alive, for the time of the block."""
    await runtime.start()
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
    """Do the maintenance and run the jobs of these lanes for the time of the block; yield the task that claims."""
    async with background(runtime):
        dispatcher = runtime.dispatcher(lanes)
        claiming = asyncio.create_task(dispatcher.run(), name="claiming")
        try:
            yield claiming
        finally:
            log.info("stopping")
            await drain(dispatcher, claiming, stop, runtime.settings.drain_timeout)


async def drain(dispatcher: Dispatcher, claiming: asyncio.Task[None], stop: StopSignals, grace: float) -> None:
    """Stop claiming, let running jobs finish for ``grace`` seconds or until hurried, and give the others back.

    Returns even if handlers do not end or the database is away: then the jobs' leases end, which others notice.

    Raises:
        Exception: whatever has ended the claiming.
    """
    if dispatcher.running:
        log.info("waiting for jobs to finish", running=dispatcher.running, seconds=grace)
    stopping = asyncio.create_task(dispatcher.stop(grace))
    await first(stopping, stop.hurried, within=grace + _STUCK_SECONDS)
    if not stopping.done():
        log.info("giving jobs back at once", running=dispatcher.running)
        hurried = asyncio.create_task(dispatcher.stop(0))
        await asyncio.wait({stopping, hurried}, timeout=_STUCK_SECONDS)
    both: set[asyncio.Task[Any]] = {stopping, claiming}
    await asyncio.wait(both, timeout=_STUCK_SECONDS)
    if not stopping.done():
        log.warning("abandoning handlers that do not end", running=dispatcher.running)
    elif given_back := stopping.result():
        log.info("gave jobs back", count=given_back)
    if claiming.done():
        claiming.result()


def raise_file_limit() -> None:
    """Let this process have as many files and connections open as the system allows it: often only 1,024 by default."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run_service(service: Callable[[StopSignals], Coroutine[None, None, None]]) -> int:
    """Run a service under signals: SIGTERM, SIGINT or SIGHUP ask it to stop, a second one to hurry.

    Returns:
        The exit code; what is wrong has been told. Does not return if a handler's thread would hold up the exit.
    """
    runner = asyncio.Runner(loop_factory=_loop_factory())
    guard = ForkGuard(early.hand_over())
    try:
        _run(runner.get_loop(), _under_signals(service))
        code = errors.OK
    except JobQueueError as error:
        code = errors.report(error)
    except Exception:
        log.exception("ended by an error")
        code = errors.ERROR
    finally:
        guard.end()
    _leave_soon(code)
    runner.close()
    if any(thread.name.startswith("job-") for thread in threading.enumerate()):
        log.warning("leaving while a handler's thread still runs")
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
            log.exception("interrupt in a task")


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
        # Who stops everything at once stops the database, too.
        log.warning("stopped without a database", error=str(error))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: the extra `speed`
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _leave_soon(code: int) -> None:
    """End the process even if a thread that nobody can stop holds up the interpreter's exit."""
    timer = threading.Timer(_EXIT_SECONDS, _leave, [code])
    timer.daemon = True
    timer.start()


def _leave(code: int) -> NoReturn:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
