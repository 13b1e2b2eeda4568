"""Run the demo as a process: its database, its workers, its API and its output."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import sys
import sysconfig
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from jobqueue.cli.process import process
from jobqueue.cli.render import errors, output, tables
from jobqueue.dashboard.app import make_app
from jobqueue.demo.pipeline import QUESTION, Pipeline
from jobqueue.demo.run import Run
from jobqueue.domain.attempts.states import State
from jobqueue.services.queue import JobQueue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from jobqueue.cli.process.process import StopSignals
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

_HOST: Final = "127.0.0.1"
_LINE_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.1
_BROKEN_FILES: Final = 200


class Demo:
    """One invocation of the demo; other commands find the same database by the flags."""

    def __init__(self, options: Mapping[str, Any], settings: Settings, flags: Sequence[str]) -> None:
        self._options = options
        self._settings = settings
        self._flags = flags
        self._code = errors.INTERRUPTED
        self._say = output.note if options["as_json"] else output.print_line

    def __call__(self) -> int:
        """Run the demo and return the exit code."""
        # The compiler warns of dubious sources.
        warnings.simplefilter("ignore")
        return process.run_service(self._run) or self._code

    async def _run(self, stop: StopSignals) -> None:
        queue = JobQueue(self._settings)
        runtime = await process.open_runtime(stop, queue.open, embedded=self._settings.mongo_url is None)
        if runtime is None:
            return
        run = Run(queue, self._options["resume"] or self._options["repair"])
        last = None
        pipeline = Pipeline(queue, run.id)
        try:
            async with contextlib.AsyncExitStack() as stack:
                url = await stack.enter_async_context(_served(runtime)) if self._options["serve"] else None
                await stack.enter_async_context(process.working(runtime, queue.lanes(runtime), stop))
                await self._begin(run)
                shown = await stack.enter_async_context(self._piping(pipeline))
                self._say(f"Run {run.id}" + (f", dashboard and API at {url}" if url else ""))
                with display(self._say, stderr=self._options["as_json"]) as show:
                    last = await run.watch(show, stop.asked)
                if last is None:
                    self._say("Stopping: running jobs finish first; a second Ctrl-C returns them to the queue at once.")
                else:
                    piped = await _shown(shown, stop) if last.state is State.SUCCESS else None
                    await self._end(run, last, url, stop, piped)
        finally:
            if runtime.embedded is not None:
                # The next command looks at the jobs: it finds MongoDB still running.
                await asyncio.to_thread(runtime.embedded.release, linger=True)
            await queue.close()
        if last is None:
            self._say(f"Stopped; unfinished jobs are kept. Continue with: {self._command('demo', '--resume', run.id)}")

    @contextlib.asynccontextmanager
    async def _piping(self, pipeline: Pipeline) -> AsyncIterator[asyncio.Task[dict[str, Any]] | None]:
        """Show the pipeline of steps meanwhile, in a new run that is to succeed."""
        options = self._options
        if options["repair"] or options["resume"] or options["breaks"]:
            yield None
            return
        task = asyncio.create_task(pipeline.show(self._root))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def _root(self) -> Path:
        return self._options["path"] or Path(sysconfig.get_path("stdlib"))

    async def _begin(self, run: Run) -> None:
        options = self._options
        if options["repair"]:
            self._say(f"{await run.repair():,} missing files copied")
        elif options["resume"]:
            await run.resume()
        else:
            copy_to = self._settings.data_dir.resolve() / f"demo-{run.id}" if options["breaks"] else None
            await run.begin(self._root, options["limit"] or (_BROKEN_FILES if copy_to else None), copy_to)

    async def _end(self, run: Run, last: Job, url: str | None, stop: StopSignals, piped: dict[str, Any] | None) -> None:
        stays = url is not None and (sys.stdout.isatty() if self._options["stay"] is None else self._options["stay"])
        if last.state is State.SUCCESS:
            self._code = errors.OK
            if self._options["as_json"]:
                output.print_json({**last.result, **({} if piped is None else {"pipeline": piped})})
            else:
                print_report(last.result)
                if piped is not None:
                    print_pipeline(piped, self._command("signal", piped["job"], QUESTION, "true"))
            if self._options["keep"]:
                self._point(run, last.result["failures"], url if stays else None)
        else:
            self._code = errors.ERROR
            reason = last.error.message if last.error else "no reason given"
            self._say(f"There is no report, {last.type} {last.state}: {reason}")
            self._say(f"Look at it with: {self._command('show', last.id)}")
            if last.data["copyTo"]:
                self._say("Succeeded jobs are kept. Bring back the lost files and restart only the failed jobs:")
                self._say(f"  {self._command('demo', '--repair', run.id)}")
        if not self._options["keep"]:
            self._say(f"{await run.delete():,} jobs deleted")
        if stays:
            self._say(f"The dashboard is at {url} until Ctrl-C. Look at:")
            self._sights(last, url or "")
            await stop.asked.wait()
        elif url:
            self._say(f"The dashboard and the API at {url} have ended. Serve them again with: {self._command('serve')}")

    def _sights(self, last: Job, url: str) -> None:
        """Print the pages of the dashboard that show what the run was about."""
        for page, sight in (
            (f"/batches/{last.batch_id}", "the graph of the run"),
            ("/failures", "what has failed, in groups"),
            ("/inbox", "the question that the pipeline asks"),
        ):
            self._say(f"  {url}{page}  {sight}")

    def _point(self, run: Run, failures: Sequence[Mapping[str, Any]], url: str | None) -> None:
        """Print the commands that show more of a run."""
        states = ("--state", "failed", "--state", "killed") if failures else ()
        self._say("Every job is kept. Look further with:")
        self._say(f"  {self._command('list', *states, '--queue', run.queue)}")
        if failures:
            self._say(f"  {self._command('show', failures[0]['samples'][0]['id'])}")
        if url is not None:
            token = ' -H "Authorization: Bearer $JOBQUEUE_ADMIN_TOKEN"' if self._settings.admin_token else ""
            self._say(f"  curl{token} '{url}/v1/jobs?{'state=failed,killed&' if failures else ''}meta.demo={run.id}'")

    def _command(self, *words: str) -> str:
        """Return a command as one calls it from here: by its name if PATH has it."""
        started = sys.argv[0]
        program = [started] if Path(started).name == "jobqueue" else [sys.executable, "-m", "jobqueue"]
        return shlex.join([*(["jobqueue"] if shutil.which("jobqueue") == started else program), *words, *self._flags])


async def _shown(task: asyncio.Task[dict[str, Any]] | None, stop: StopSignals) -> dict[str, Any] | None:
    """Return what the pipeline has shown; nothing if it cannot be shown here, or the demo is stopped."""
    while task is not None and not stop.asked.is_set():
        await asyncio.wait({task}, timeout=_LOOK_SECONDS)
        if task.done():
            return None if isinstance(task.exception(), OSError) else task.result()
    return None


@contextlib.asynccontextmanager
async def _served(runtime: Runtime) -> AsyncIterator[str]:
    """Serve the HTTP API on loopback for the time of the block, and yield its address."""
    runner = web.AppRunner(make_app(runtime), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _HOST, runtime.settings.port).start()
        except OSError:
            # Taken or not allowed: any other port serves as well.
            await web.TCPSite(runner, _HOST, 0).start()
        yield f"http://{_HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def display(say: Callable[[str], None], *, stderr: bool) -> Iterator[Callable[[int, int | None, str], None]]:
    """Yield a function that shows the progress: as a bar on a terminal, as a line now and then elsewhere."""
    console = Console(stderr=stderr)
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1))
    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn(), text)
    began_at, due_at = time.monotonic(), 0.0
    with Progress(*columns, console=console, expand=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)

        def show(ended: int, total: int | None, line: str) -> None:
            nonlocal due_at
            progress.update(bar, completed=ended, total=total, description=output.plain(line))
            now = time.monotonic()
            if total is not None and now >= due_at and not console.is_terminal:
                due_at = now + _LINE_SECONDS
                say(output.plain(f"{now - began_at:5.1f} s  {ended:,} of {total:,} ended, {line}"))

        yield show


def print_report(report: Mapping[str, Any]) -> None:
    """Print the report of a run as tables."""
    totals = report["totals"]
    rows = [
        ["files", f"{totals['files']:,} in {report['seconds']:,.1f} s ({report['filesPerSecond']:,.0f} a second)"],
        ["analysed", f"{totals['analysed']:,}"],
        ["failed for good", f"{totals['failed']:,}"],
        ["needed more than one attempt", f"{totals['retried']:,} ({totals['attempts']:,} attempts in all)"],
        *([name, f"{totals[name]:,}"] for name in ("lines", "functions", "classes")),
        *(["large module", f"{module['file']}, {module['lines']:,} lines"] for module in report["largest"]),
        ["most imported", ", ".join(f"{module['module']} ({module['files']:,})" for module in report["mostImported"])],
    ]
    for name, title in (("mostComplex", "most complex function"), ("longest", "longest function")):
        if report[name]:
            rows.append(
                [title, "{name}, {lines:,} lines, complexity {complexity:,} ({file}:{line})".format_map(report[name])]
            )
    output.print_line()
    tables.print_table([f"RUN {report['run']}", report["root"]], rows)
    output.print_line()
    rows = [
        [group["kind"], group["state"], f"{group['count']:,}", group["samples"][0]["message"]]
        for group in report["failures"]
    ]
    if rows:
        tables.print_table(["WHAT FAILED", "STATE", "JOBS", "FOR EXAMPLE"], rows)
    else:
        output.print_line("Nothing failed: every source compiles.")


def print_pipeline(pipeline: Mapping[str, Any], answer: str) -> None:
    """Print the steps of the pipeline, the attempts in which they finished, and the command for its question."""
    rows = [[step["name"], f"attempt {step['attempt']}"] for step in pipeline["steps"]]
    output.print_line()
    tables.print_table(["A PIPELINE OF STEPS", "FINISHED IN"], rows)
    if pipeline["killed"]:
        output.print_line("Its process was killed half-way through pack. The next one did not list the files again.")
        output.print_line(f"It asked whether to {QUESTION}, and held no slot until the demo answered, as you would by")
        output.print_line(answer)
    elif pipeline["state"] != State.SUCCESS:
        output.print_line(f"It is {pipeline['state']}: see job {pipeline['job']}.")
