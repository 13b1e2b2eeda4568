"""The demo as a program: its database, its API, its signals and what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shlex
import signal
import sys
import sysconfig
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from jobqueue.demo import summary
from jobqueue.demo.display import display
from jobqueue.demo.run import Order, Run
from jobqueue.domain.jobs.states import State
from jobqueue.services.queue import JobQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.work.dispatcher import Dispatcher
    from jobqueue.settings import Settings

_HOST: Final = "127.0.0.1"
_PLAIN_WIDTH: Final = 120
_BROKEN_FILES: Final = 200
_THRESHOLDS: Final = (50_000, 20, 20)


class Ending(Enum):
    """How a demo ended: with a report, without one, or because somebody stopped it."""

    REPORTED = auto()
    BROKEN = auto()
    STOPPED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        path: the directory to analyse; Python's standard library without.
        limit: at most so many files.
        serve: serve the HTTP API meanwhile.
        stay: keep serving when the report is there; without, exactly on a terminal.
        keep: leave the jobs in the database.
        resume: the id of a run to go on with.
        breaks: let a part of the work fail, for a reason that `repair` can take away.
        repair: the id of a run to repair and go on with.
        as_json: print the report as JSON on stdout, and everything else on stderr.
        flags: what other commands need on their command line to find the same database.
    """

    path: Path | None = None
    limit: int | None = None
    serve: bool = True
    stay: bool | None = None
    keep: bool = True
    resume: str | None = None
    breaks: bool = False
    repair: str | None = None
    as_json: bool = False
    flags: tuple[str, ...] = ()

    @property
    def stays(self) -> bool:
        """Whether to keep serving when the report is there."""
        return self.serve and (sys.stdout.isatty() if self.stay is None else self.stay)


class Demo:
    """One invocation of the demo.

    Args:
        options: of the command line.
        settings: which database, which port.
    """

    def __init__(self, options: Options, settings: Settings) -> None:
        self._options = options
        self._settings = settings
        self._console = _console(stderr=options.as_json)
        self._display = display(self._console)
        self._stop = asyncio.Event()
        self._dispatcher: Dispatcher | None = None
        self._hurry: asyncio.Task[int] | None = None

    async def __call__(self) -> Ending:
        """Run it and return how it ended.

        Raises:
            JobQueueError: the database cannot be used, or there is no such run.
        """
        async with JobQueue(self._settings) as queue:
            runtime = await queue.open()
            try:
                run = Run(queue, self._options.resume or self._options.repair)
                with self._signals(), _fewer_collections():
                    report = await self._work(queue, runtime, run)
            finally:
                if runtime.embedded is not None:
                    # The next command looks at the jobs: it finds MongoDB still running.
                    await asyncio.to_thread(runtime.embedded.release, linger=True)
        if report is None:
            again = " ".join([summary.program_name(), "demo --resume", run.id, *map(shlex.quote, self._options.flags)])
            self._display.say(f"Stopped; what had not ended is kept. Go on with: {again}")
            return Ending.STOPPED
        return Ending.REPORTED if report.state is State.SUCCESS else Ending.BROKEN

    async def _work(self, queue: JobQueue, runtime: Runtime, run: Run) -> Job | None:
        options = self._options
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(_served(runtime)) if options.serve else None
            self._dispatcher = await stack.enter_async_context(queue.working())
            if options.repair is not None:
                self._display.say(f"{await run.repair():,} files were missing, and are there now")
            elif options.resume is not None:
                await run.resume()
            else:
                await run.begin(self._order(run.id))
            self._display.say(f"Run {run.id}" + (f", API at {url}" if url else ""))
            report = await run.watch(self._display, self._stop)
            if report is None:
                self._display.say("Stopping: running jobs finish first; once more (Ctrl-C) gives them back at once.")
                return None
            self._show(report, url)
            if not options.keep:
                self._display.say(f"{await run.delete():,} jobs deleted")
            if url and options.stays:
                self._display.say(f"Serving {url} until Ctrl-C.")
                await self._stop.wait()
            elif url:
                again = " ".join([summary.program_name(), "serve", *map(shlex.quote, self._options.flags)])
                self._display.say(f"The API was at {url} meanwhile. Serve it again with: {again}")
            return report

    def _order(self, run: str) -> Order:
        options = self._options
        root = options.path or _standard_library()
        if not options.breaks:
            return Order(root=root, limit=options.limit)
        copy_to = self._settings.data_dir.resolve() / f"demo-{run}"
        return Order(root=root, limit=options.limit or _BROKEN_FILES, copy_to=copy_to)

    def _show(self, report: Job, url: str | None) -> None:
        if report.state is not State.SUCCESS:
            reason = report.error.message if report.error else "no reason given"
            self._display.say(f"There is no report, {report.type} {report.state}: {reason}")
            self._display.say(f"Look at it with: {summary.program_name()} show {report.id}")
            if report.data.get("copyTo") is not None:
                again = [summary.program_name(), "demo --repair", report.meta["demo"]]
                again += map(shlex.quote, self._options.flags)
                self._display.say("What has succeeded is kept. Take the cause away and start again only what failed:")
                self._display.say(f"  {' '.join(again)}")
            return
        if self._options.as_json:
            click.echo(json.dumps(report.result, indent=2))
        else:
            summary.show(self._console, report.result)
        if self._options.keep:
            token = self._settings.admin_token is not None
            lines = summary.pointers(
                report.result,
                url if self._options.stays else None,
                self._options.flags,
                authorized=token,
                program=summary.program_name(),
            )
            for line in ("Every job is kept. Look further with:", *(f"  {line}" for line in lines)):
                self._display.say(line)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM stop it cleanly, and a second one give running jobs back at once."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(NotImplementedError):
            for number in numbers:
                loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            with contextlib.suppress(NotImplementedError):
                for number in numbers:
                    loop.remove_signal_handler(number)
            if self._stop.is_set():
                # All is stopped: one Ctrl-C too many shall not break off what is left, closing connections.
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _signalled(self) -> None:
        if self._stop.is_set() and self._dispatcher is not None and self._hurry is None:
            self._hurry = asyncio.get_running_loop().create_task(self._dispatcher.stop(0))
        self._stop.set()


@contextlib.contextmanager
def _fewer_collections() -> Iterator[None]:
    """Search for garbage less often: syntax trees are millions of objects, and none of them is in a cycle."""
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _standard_library() -> Path:
    """Return where this Python has its standard library as files.

    Raises:
        ClickException: it has none.
    """
    path = Path(sysconfig.get_paths()["stdlib"])
    if not path.is_dir():
        raise click.ClickException(f"this Python has no standard library at {path}; name a directory by --path")
    return path


@contextlib.asynccontextmanager
async def _served(runtime: Runtime) -> AsyncIterator[str]:
    """Serve the HTTP API on loopback as long as the block lasts, and give its address."""
    from aiohttp import web  # noqa: PLC0415 - 0.3 s that only those pay who serve

    from jobqueue.api.app import make_app  # noqa: PLC0415 - as above

    runner = web.AppRunner(make_app(runtime), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _HOST, runtime.settings.port).start()
        except OSError:
            # Taken or not allowed: any other serves as well.
            await web.TCPSite(runner, _HOST, 0).start()
        yield f"http://{_HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PLAIN_WIDTH
    return console
