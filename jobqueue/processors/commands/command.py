"""Run a job by a program of the operator: the job on its standard input, log lines from its outputs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from jobqueue import tracing
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import JobCancelledError, StepError
from jobqueue.domain.steps.step import STEP
from jobqueue.domain.work.verdict import INVALID_RESULT, Death, Failure, RunAgain, Success, Suspension, Verdict
from jobqueue.journal import get_logger
from jobqueue.processors.commands import scripts
from jobqueue.processors.commands.output import Output
from jobqueue.processors.commands.program import ExitStatus, Program
from jobqueue.processors.commands.step_socket import VARIABLE, StepSocket
from jobqueue.processors.reported_steps import called, job_with_results, signal_suspension

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Reporter
    from jobqueue.processors.commands.commands_file import Command

log = get_logger(__name__)
_END_SECONDS: Final = 6.0
_OWN_PROGRAM: Final = "jobqueue"
_NOT_FOUND: Final = frozenset({126, 127})
"""Exit codes of ``env`` and of shells that cannot run a program."""
_INHERITED: Final = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|TMPDIR")
"""The variables that a command inherits from the server, whose environment may have passwords and tokens."""


class CommandProcessor:
    """Runs claimed jobs by one command, each job once.

    Lines of the standard output become log lines, except for ``::progress 40``, which sets the progress,
    ``::result {"a": 1}``, which sets the result, ``::step fetch {"a": 1}``, which records a step, ``::suspend 60``,
    ``::wait approved``, and ``::call label {"type": "print"}``, which awaits a child.
    A result that cannot be stored becomes its text; a result that is too large fails the job. Lines of the standard
    error output have the level ``stderr``.

    Args:
        command: the program.
        token: of the claim; the program may report over the API with it.
        url: of the API; ``None`` if the API cannot be reached.
    """

    def __init__(self, command: Command, *, token: str, url: str | None) -> None:
        self._command = command
        self._token = token
        self._url = url
        self.stop_seconds = self.slowest_end(command)

    @staticmethod
    def slowest_end(command: Command) -> float:
        """Return the seconds that a command may take to end: TERM, its grace, KILL, and the end of its process tree."""
        return command.kill_after + _END_SECONDS

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        """Run the program and turn its exit code into a verdict.

        After its end, processes that the program left behind are ended, too. Cancelling sends TERM to all processes
        and, after the command's grace, KILL; this returns when no process is left. Cancelling again sends KILL at once.
        """
        output = Output(reporter, self._command.max_output)
        socket = StepSocket(reporter.steps)
        await socket.open()
        program = self._program(job, reporter, output, socket)
        socket.suspended = program.terminate
        try:
            running = asyncio.create_task(program.run(), name=f"command-{job.id}")
            end = await self._end(program, running)
            if socket.suspension is not None:
                return socket.suspension
            if end.code == 0 and end.fault is None and output.awaited is not None:
                return await _awaiting(reporter, output.awaited)
            if end.left:
                await _note(output, f"the program left processes behind, which were ended: {end.left}")
        except JobCancelledError:
            raise asyncio.CancelledError from None
        finally:
            await socket.close()
        return await self._called(self._judge(end, output), output, reporter)

    async def _called(self, verdict: Verdict, output: Output, reporter: Reporter) -> Verdict:
        """Create the children of a command that has ended well; return the verdict that waits for them.

        Raises:
            CancelledError: the claim is lost.
        """
        if not isinstance(verdict, Success | Suspension):
            return verdict
        if output.refusal is not None:
            return Failure(error=JobError(kind=STEP, message=output.refusal), code=verdict.code)
        try:
            return await called(reporter.steps, output.calls, verdict)
        except StepError as error:
            return Failure(error=JobError(kind=STEP, message=str(error)), code=verdict.code)
        except JobCancelledError:
            raise asyncio.CancelledError from None

    def _program(self, job: Job, reporter: Reporter, output: Output, socket: StepSocket) -> Program:
        shown = job_with_results(job, reporter.steps)
        return Program(
            self._command,
            self._environment(job, socket.path),
            marks=f"JOBQUEUE_TOKEN={self._token}",
            body=orjson.dumps({"job": shown, "token": self._token, "attempt": job.attempts_made}),
            sinks=(output.out, output.err),
            remains=socket.directory,
        )

    async def _end(self, program: Program, running: asyncio.Task[ExitStatus]) -> ExitStatus:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await _stop(program, running)
            raise

    def _environment(self, job: Job, socket: str | None) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
        own = {"JOBQUEUE_JOB_ID": job.id, "JOBQUEUE_TOKEN": self._token, "JOBQUEUE_ATTEMPT": str(job.attempts_made)}
        if self._url is not None:
            own["JOBQUEUE_URL"] = self._url
        if socket is not None:
            own[VARIABLE] = socket
        return {**inherited, "PATH": _path(inherited.get("PATH")), **tracing.environment(), **self._command.env, **own}

    def _judge(self, end: ExitStatus, output: Output) -> Verdict:
        if end.fault is not None:
            return Failure(error=JobError(kind="start", message=f"the command cannot be started: {end.fault}"))
        if end.code is None:
            message = "the process that watches over the command was killed, and the command with it"
            return Failure(error=JobError(kind="lost", message=message, trace=output.trace))
        if end.code == 0:
            if output.suspend_seconds is not None:
                return Suspension(delay=output.suspend_seconds, code=0)
            if output.objection is not None:
                return Failure(error=JobError(kind=INVALID_RESULT, message=output.objection), code=0)
            return Success(result=output.result, code=0)
        return self._explain(end.code, output)

    def _explain(self, code: int, output: Output) -> Verdict:
        words, how = output.last_words, f"exit code {code}"
        if code < 0:
            how = f"killed by {_name(-code)}"
        full = f"{how}: {words}" if words else how
        if code in _NOT_FOUND and (fault := scripts.fault(Path(self._command.argv[0]))):
            full = f"{full}; the script {fault}"
        if code in self._command.retry_exit:
            error = JobError(kind="retry", message=words or how, trace=output.trace)
            return RunAgain(delay=self._command.retry_delay, error=error, code=code)
        if code in self._command.die_exit:
            return Death(error=JobError(kind="die", message=words or how, trace=output.trace), code=code)
        kind = "signal" if code < 0 else "exit"
        return Failure(error=JobError(kind=kind, message=full, trace=output.trace), code=code)


def _path(inherited: str | None) -> str:
    """Return the path for programs, with the directory of ``jobqueue`` at its end if it is not found otherwise."""
    path = os.defpath if inherited is None else inherited
    own = Path(sys.executable).parent
    if shutil.which(_OWN_PROGRAM, path=path) is None and (own / _OWN_PROGRAM).exists():
        return f"{path}{os.pathsep}{own}" if path else str(own)
    return path


async def _awaiting(reporter: Reporter, awaited: tuple[str, float | None]) -> Verdict:
    """Return the verdict on a command whose last ``::wait`` line waits for a signal; a failure if it cannot."""
    name, seconds = awaited
    try:
        return await signal_suspension(reporter.steps, name, name, seconds, 0)
    except StepError as error:
        return Failure(error=JobError(kind=STEP, message=str(error)), code=0)


async def _note(output: Output, text: str) -> None:
    """Add a log line; a line that cannot be stored does not change the verdict."""
    try:
        await output.note(text)
    except JobCancelledError:
        raise
    except Exception:
        log.exception("log line lost", line=text)


async def _stop(program: Program, running: asyncio.Task[ExitStatus]) -> None:
    program.terminate()
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        program.kill()
        await asyncio.wait({running})
    # The result does not count any more, but asyncio would report an exception that is never retrieved.
    if not running.cancelled():
        running.exception()


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return f"{signal.Signals(number).name} ({number})"
    return f"signal {number}"
