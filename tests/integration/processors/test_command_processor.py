from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
import pytest

import jobqueue
from jobqueue.domain.errors import DatabaseUnavailableError, JobCancelledError, TooLargeError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success, Verdict
from jobqueue.processors.commands import program as programs
from jobqueue.processors.commands.command import CommandProcessor
from jobqueue.processors.commands.commands_file import Command
from jobqueue.store.mongo.group_commit import Batcher
from tests.support import command_host
from tests.support.command_host import MARK, make_job, shell, states, survivors
from tests.support.memory_steps import MemorySteps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PYTHON = sys.executable
PATIENCE = 30.0


class Recorder:
    """Keeps what is reported; what it is given is raised by the next calls for a log line."""

    def __init__(self, *failures: Exception) -> None:
        self.lines: list[tuple[str, str | None]] = []
        self.percents: list[float] = []
        self.steps = MemorySteps()
        self.failures = list(failures)

    async def log(self, line: str, level: str | None = None) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.lines.append((line, level))

    async def progress(self, percent: float) -> None:
        self.percents.append(percent)

    @property
    def text(self) -> list[str]:
        return [line for line, _ in self.lines]


class Run:
    """A job under way."""

    def __init__(self, mark: str, reporter: Any, task: asyncio.Task[Verdict]) -> None:
        self.mark = mark
        self.reporter = reporter
        self.task = task

    async def shows(self, line: str) -> None:
        await eventually(lambda: line in self.reporter.text)

    async def cancel(self) -> float:
        """Cancel the run and return how many seconds that took; nothing of it may be left."""
        start = time.monotonic()
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        assert survivors(self.mark) == []
        return time.monotonic() - start


async def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is outside of this process
            await asyncio.sleep(0.01)


def begin(command: str | Command, reporter: Any = None, *, mark: str | None = None, **fields: Any) -> Run:
    mark, reporter = mark or uuid.uuid4().hex, reporter or Recorder()
    runnable = shell(command, env={MARK: mark}, **fields) if isinstance(command, str) else command
    processor = CommandProcessor(runnable, token=f"token-{mark}", url="http://127.0.0.1:1/v1")
    return Run(mark, reporter, asyncio.create_task(processor.run(make_job(), reporter)))


async def finish(command: str | Command, reporter: Any = None, **fields: Any) -> tuple[Verdict, Any]:
    run = begin(command, reporter, **fields)
    verdict = await asyncio.wait_for(run.task, PATIENCE)
    assert survivors(run.mark) == []
    return verdict, run.reporter


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path would not do it differently


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Make sure that a test leaves neither open files nor children."""
    children = Path("/proc/thread-self/children")
    before = open_files(), children.read_text()
    yield
    # What an earlier test is still closing may well be gone.
    assert (open_files() - before[0], children.read_text()) == (set(), before[1])


async def test_success_has_the_result_and_the_lines() -> None:
    script = 'echo start; echo trouble >&2; echo "::progress 40"; echo \'::result {"width": 320}\'; printf end'
    verdict, reporter = await finish(script)

    assert verdict == Success(result={"width": 320}, code=0)
    assert [line for line in reporter.lines if line[1] is None] == [("start", None), ("end", None)]
    assert ("trouble", "stderr") in reporter.lines
    assert reporter.percents == [40]


async def test_lines_are_reported_as_they_appear() -> None:
    run = begin("echo one; read nothing < /dev/zero; sleep 1000")

    await run.shows("one")
    await run.cancel()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 75", RunAgain),
        ("exit 65", Death),
        ("exit 1", Failure),
        ("exit 255", Failure),
        ("exit 0", Success),
    ],
)
async def test_the_exit_code_decides(script: str, expected: type) -> None:
    verdict, _ = await finish(script)

    assert isinstance(verdict, expected)
    assert verdict.code == int(script.removeprefix("exit "))


async def test_which_exit_codes_mean_what_can_be_set() -> None:
    fields = {"retry_exit": frozenset({3}), "die_exit": frozenset({4, 75}), "retry_delay": 7}

    verdict, _ = await finish("echo busy >&2; exit 3", **fields)
    assert isinstance(verdict, RunAgain)
    assert verdict.error
    assert (verdict.delay, verdict.error.kind, verdict.error.message) == (7, "retry", "busy")
    assert isinstance((await finish("exit 75", **fields))[0], Death)
    assert isinstance((await finish("exit 65", **fields))[0], Failure)


async def test_a_failure_is_explained_by_the_last_words() -> None:
    verdict, _ = await finish("for i in 1 2 3; do echo line $i >&2; done; echo 'no such file' >&2; echo >&2; exit 3")

    assert isinstance(verdict, Failure)
    assert (verdict.error.kind, verdict.error.message) == ("exit", "exit code 3: no such file")
    assert verdict.error.trace == "line 1\nline 2\nline 3\nno such file"
    assert verdict.code == 3

    verdict, _ = await finish("exit 3")
    assert isinstance(verdict, Failure)
    assert (verdict.error.message, verdict.error.trace) == ("exit code 3", None)


async def test_death_has_the_last_words_as_its_reason() -> None:
    verdict, _ = await finish("echo 'no such customer' >&2; exit 65")

    assert isinstance(verdict, Death)
    assert (verdict.error.kind, verdict.error.message) == ("die", "no such customer")


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("USR1", 10)])
async def test_an_end_by_a_signal_is_told_as_such(name: str, number: int) -> None:
    verdict, _ = await finish(f"echo words >&2; kill -{name} $$; sleep 1000")

    assert isinstance(verdict, Failure)
    assert (verdict.error.kind, verdict.code) == ("signal", -number)
    assert verdict.error.message == f"killed by SIG{name} ({number}): words"


async def test_a_result_that_cannot_be_stored_does_not_spoil_a_success() -> None:
    verdict, reporter = await finish("echo '::result {oops}'")

    assert verdict == Success(result="{oops}", code=0)
    assert [level for _, level in reporter.lines] == ["warning"]
    verdict, _ = await finish("echo '::result {oops}'; exit 3")
    assert isinstance(verdict, Failure)
    assert verdict.error.kind == "exit"


async def test_a_result_over_its_limit_fails_a_job_that_would_have_succeeded() -> None:
    long = "echo -n '::result \"'; head -c 5000000 /dev/zero | tr '\\0' x; echo '\"'"
    verdict, reporter = await finish(long)

    assert isinstance(verdict, Failure)
    assert (verdict.error.kind, verdict.code) == ("invalid-result", 0)
    assert reporter.lines == [(verdict.error.message, "warning")]
    for code, kind in ((3, Failure), (65, Death), (75, RunAgain)):
        verdict, _ = await finish(f"{long}; exit {code}")
        assert (type(verdict), verdict.code) == (kind, code)


async def test_a_program_that_cannot_be_started_is_a_failure(tmp_path: Path) -> None:
    async def fault(command: Command) -> str:
        verdict, reporter = await finish(command)
        assert isinstance(verdict, Failure)
        assert (verdict.error.kind, verdict.code, reporter.lines) == ("start", None, [])
        return verdict.error.message.removeprefix("the command cannot be started: ")

    plain = tmp_path / "plain"
    plain.write_text("echo hello\n")
    assert await fault(Command(name="x", argv=(f"{tmp_path}/no",))) == f"{tmp_path}/no: No such file or directory"
    assert await fault(Command(name="x", argv=(str(plain),))) == f"{plain}: Permission denied"
    plain.chmod(0o755)
    assert "Exec format error; a script has to begin with a line such as #!" in await fault(
        Command(name="x", argv=(str(plain),))
    )
    assert await fault(shell("true", cwd=tmp_path / "no")) == (
        f"its working directory {tmp_path}/no: No such file or directory"
    )


@pytest.mark.parametrize(
    ("first", "kind", "code", "told"),
    [
        (b"#!/bin/sh\r\n", "start", None, ": No such file or directory; the script has a carriage return (\\r)"),
        (
            b"#!/usr/bin/env bash\r\n",
            "exit",
            127,
            "; the script has a carriage return (\\r) in its first line",
        ),
        (
            b"#!/no/such\n",
            "start",
            None,
            "; the script names an interpreter in its first line that does not exist: /no/such",
        ),
    ],
)
async def test_a_script_spoilt_after_the_start_says_what_is_wrong_with_its_first_line(
    first: bytes, kind: str, code: int | None, told: str, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_bytes(first + b"echo hello\n")
    script.chmod(0o755)
    verdict, _ = await finish(Command(name="x", argv=(str(script),)))
    assert isinstance(verdict, Failure)
    assert (verdict.error.kind, verdict.code) == (kind, code)
    assert told in verdict.error.message


async def test_a_missing_interpreter_is_a_failure_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")

    verdict, _ = await finish("true")

    assert isinstance(verdict, Failure)
    assert verdict.error.kind == "start"
    assert "/no/python" in verdict.error.message


async def test_standard_input_is_what_a_webhook_would_get() -> None:
    verdict, _ = await finish("printf '::result '; cat /dev/stdin")

    assert isinstance(verdict, Success)
    job = verdict.result["job"]
    dates = {name: job[name] for name in ("insertAt", "startAt")}
    assert job == json.loads(json.dumps(json_form.job(make_job()))) | {"steps": {}} | dates
    assert verdict.result["token"].startswith("token-")
    assert verdict.result["attempt"] == 1


@pytest.mark.parametrize("script", ["exit 0", "exec < /dev/null; echo on; exit 0", "exec < /dev/null; sleep 0.2"])
async def test_a_program_need_not_read_its_input(script: str) -> None:
    processor = CommandProcessor(shell(script), token="t", url=None)  # noqa: S106 - a made-up one

    verdict = await asyncio.wait_for(processor.run(make_job(data={"text": "x" * 1024 * 1024}), Recorder()), PATIENCE)

    assert verdict == Success(code=0)


async def test_input_of_a_megabyte_arrives_whole() -> None:
    processor = CommandProcessor(shell("printf '::result '; wc -c"), token="t", url=None)  # noqa: S106 - made up

    verdict = await processor.run(make_job(data={"text": "x" * 1024 * 1024}), Recorder())

    assert isinstance(verdict, Success)
    assert verdict.result > 1024 * 1024


async def test_the_environment_has_what_is_needed_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("JOBQUEUE_MONGO_URL", "JOBQUEUE_ADMIN_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "LANGUAGE_X"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TMPDIR", os.fsdecode(b"/tmp/caf\xe9"))
    command = Command(name="env", argv=("/usr/bin/env", "-0"), env={"QUALITY": "80", "TZ": "CET"}, cwd=tmp_path)

    run = begin(command, mark="m")
    await run.task

    found = dict(item.split("=", 1) for item in "".join(run.reporter.text).split("\0") if item)
    kept = {name for name in os.environ if name in {"PATH", "HOME", "LANG", "TMPDIR"} or name.startswith("LC_")}
    own = {"JOBQUEUE_JOB_ID", "JOBQUEUE_TOKEN", "JOBQUEUE_URL", "JOBQUEUE_ATTEMPT", "JOBQUEUE_STEPS"}
    assert set(found) == kept | own | {"QUALITY", "TZ"}
    assert (found["QUALITY"], found["TZ"], found["LC_TIME"]) == ("80", "CET", "C")
    assert found["TMPDIR"] == "/tmp/caf\ufffd"  # noqa: S108 - only a name
    assert found["JOBQUEUE_JOB_ID"] == make_job().id
    assert found["JOBQUEUE_TOKEN"] == "token-m"  # noqa: S105 - a made-up one
    assert found["JOBQUEUE_URL"] == "http://127.0.0.1:1/v1"
    assert found["JOBQUEUE_ATTEMPT"] == "1"


async def test_no_shell_reads_the_arguments_and_the_program_starts_where_it_should(tmp_path: Path) -> None:
    script = "import sys, os; print(sys.argv[1:], os.getcwd())"
    argv = (PYTHON, "-c", script, "$HOME", "; exit 3", "*", "", "é")

    _, reporter = await finish(Command(name="x", argv=argv, cwd=tmp_path))

    assert reporter.text == [f"['$HOME', '; exit 3', '*', '', 'é'] {tmp_path}"]


async def test_the_program_finds_signals_and_files_as_from_a_shell() -> None:
    script = """
import os, signal
print([int(one) for one in signal.valid_signals() if signal.getsignal(one) is signal.SIG_IGN])
print(sorted(os.listdir('/proc/self/fd'))[:-1], signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(os.getsid(0) == os.getpgid(0) == os.getpid() != os.getsid(os.getppid()))
"""
    _, reporter = await finish(Command(name="x", argv=(PYTHON, "-c", script)))

    # Python itself ignores PIPE and XFSZ.
    assert reporter.text == [str([int(signal.SIGPIPE), int(signal.SIGXFSZ)]), "['0', '1', '2'] set()", "True"]


async def test_limits_hold() -> None:
    hungry = Command(name="x", argv=(PYTHON, "-c", "x = 'x' * 500_000_000"), max_memory=200_000_000)
    verdict, _ = await finish(hungry)
    assert isinstance(verdict, Failure)
    assert verdict.error.message.endswith("MemoryError")

    verdict, _ = await finish("while :; do :; done", max_cpu=1)
    assert isinstance(verdict, Failure)
    assert verdict.error.message == f"killed by SIGXCPU ({int(signal.SIGXCPU)})"


async def test_very_many_lines_arrive_in_order_in_few_writes() -> None:
    writes: list[Sequence[str]] = []

    async def write(lines: Sequence[str]) -> list[None]:
        writes.append(lines)
        await asyncio.sleep(0.002)
        return [None] * len(lines)

    class Grouping(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self._send: Batcher[str, None] = Batcher(write, most=500)

        async def log(self, line: str, level: str | None = None) -> None:
            assert level is None
            await self._send(line)

    verdict, _ = await finish("seq 50000", Grouping())

    assert verdict == Success(code=0)
    assert [line for lines in writes for line in lines] == [str(number) for number in range(1, 50_001)]
    assert len(writes) < 1000


@pytest.mark.parametrize(
    "script", ["yes | head -c 200000000", "yes >&2 & sleep 1; kill $!", "head -c 200000000 /dev/zero | tr '\\0' y"]
)
def test_output_without_end_is_drained_in_little_memory(script: str) -> None:
    said = run_host(uuid.uuid4().hex, script)

    lines = said.splitlines()
    assert "the output is over its limit of 100000 bytes: what follows is not kept" in lines
    assert lines[-2] == str(Success(code=0))
    assert int(lines[-1].removeprefix("grown ")) < 30_000


async def test_what_is_left_behind_is_ended() -> None:
    verdict, reporter = await finish("sleep 1000 & setsid sleep 1000 & exit 3")

    assert isinstance(verdict, Failure)
    assert verdict.code == 3
    assert reporter.lines == [("the program left processes behind, which were ended: 2", "warning")]


async def test_what_is_left_behind_may_finish_its_last_words() -> None:
    verdict, reporter = await finish("(sleep 0.01; echo late) & exit 0")

    assert verdict == Success(code=0)
    assert reporter.lines == [("late", None)]


async def test_what_is_left_behind_and_ignores_term_is_killed() -> None:
    script = "(trap '' TERM; setsid sleep 1000; sleep 1000) & (setsid env -i sleep 1000 &) ; exit 0"
    verdict, _ = await finish(script, kill_after=0.2)

    assert verdict == Success(code=0)


async def test_cancelling_ends_everything_and_hears_the_last_words() -> None:
    run = begin("trap 'echo bye; exit 0' TERM; setsid sleep 1000 & sleep 1000 & echo up; wait")
    await run.shows("up")

    assert await run.cancel() < 15
    assert "bye" in run.reporter.text


async def test_what_ignores_term_is_killed_after_the_grace() -> None:
    run = begin(
        "trap '' TERM HUP; (setsid sleep 1000; sleep 1000) & echo up; while :; do sleep 1; done", kill_after=0.3
    )
    await run.shows("up")

    assert 0.3 <= await run.cancel() < 15


async def test_a_stopped_process_gets_its_term() -> None:
    script = "(trap 'echo bye; exit' TERM; kill -STOP $(exec sh -c 'echo $PPID'); :) & echo up; wait"
    run = begin(script, kill_after=110)
    await run.shows("up")
    await eventually(lambda: "T" in states(run.mark))

    # It would be killed after the grace.
    async with asyncio.timeout(100):
        await run.cancel()


async def test_without_a_grace_it_is_killed_at_once() -> None:
    run = begin("trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.1; done", kill_after=0)
    await run.shows("up")
    await run.cancel()

    assert run.reporter.text == ["up"]


async def test_cancelling_twice_does_not_wait_for_the_grace() -> None:
    run = begin("trap '' TERM; echo up; while :; do sleep 1; done", kill_after=3600)
    await run.shows("up")
    run.task.cancel()
    await asyncio.wait({run.task}, timeout=0.1)
    assert not run.task.done()

    assert await run.cancel() < 15


@pytest.mark.parametrize("steps", range(0, 40, 4))
async def test_cancelling_at_any_moment_leaves_nothing(steps: int) -> None:
    run = begin("setsid sleep 1000 & sleep 1000")
    for _ in range(steps):
        await asyncio.sleep(0.002)

    await run.cancel()


async def test_a_job_that_is_lost_stops_its_program() -> None:
    run = begin("echo one; echo two >&2; trap '' TERM; sleep 1000", Recorder(JobCancelledError()), kill_after=0.2)

    with pytest.raises(asyncio.CancelledError):
        await run.task
    assert survivors(run.mark) == []
    assert run.task.cancelled()


async def test_a_reporter_that_breaks_stops_the_program_and_is_heard_of() -> None:
    run = begin("echo one; sleep 1000", Recorder(ValueError("broken")))

    with pytest.raises(ValueError, match="broken"):
        await run.task
    assert survivors(run.mark) == []


async def test_lines_wait_for_a_database_that_is_away() -> None:
    away = [DatabaseUnavailableError("away") for _ in range(3)]
    verdict, reporter = await finish("echo one; echo two", Recorder(*away))

    assert verdict == Success(code=0)
    assert sorted(reporter.text) == ["one", "two"]


async def test_a_database_that_stays_away_does_not_keep_a_cancelled_job() -> None:
    class Away(Recorder):
        async def log(self, line: str, level: str | None = None) -> None:
            self.lines.append((line, level))
            raise DatabaseUnavailableError("away")

    run = begin("echo one", Away())
    await run.shows("one")
    await eventually(lambda: not survivors(run.mark))

    assert await run.cancel() < 15


async def test_a_reporter_that_never_answers_does_not_keep_a_cancelled_job() -> None:
    class Silent(Recorder):
        async def log(self, line: str, level: str | None = None) -> None:
            self.lines.append((line, level))
            await asyncio.Event().wait()

    run = begin("echo one; exec yes", Silent())
    await run.shows("one")

    assert await run.cancel() < 15
    assert len(run.reporter.lines) <= 500


async def test_killing_the_supervisor_kills_everything_and_fails_the_job() -> None:
    script = "trap '' TERM; setsid sleep 1000 & (setsid sh -c 'sleep 1000; :' &) ; sleep 0.2; kill -9 $PPID; sleep 1000"
    verdict, _ = await finish(script)

    assert isinstance(verdict, Failure)
    assert (verdict.error.kind, verdict.code) == ("lost", None)


async def test_a_program_that_kills_its_parent_at_once_is_no_failure_to_start() -> None:
    verdict, _ = await finish("kill -9 $PPID; sleep 1000")

    assert isinstance(verdict, Failure)
    assert verdict.error.kind == "lost"


async def test_a_program_that_one_look_misses_does_not_outlive_its_killed_supervisor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look, looks = programs._strays, itertools.count()
    # As while it is being forked, or becomes another program.
    monkeypatch.setattr(programs, "_strays", lambda *of: look(*of) if next(looks) else [])
    verdict, _ = await finish("kill -9 $PPID; sleep 1000")

    assert isinstance(verdict, Failure)


async def test_a_supervisor_that_is_stopped_does_not_keep_a_cancelled_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_SLACK", 0.5)
    run = begin("kill -STOP $PPID; echo up; trap '' TERM; setsid sleep 1000 & sleep 1000", kill_after=0.1)
    await run.shows("up")

    assert await run.cancel() < 15


async def test_an_output_that_somebody_else_holds_open_does_not_keep_the_job(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    script = f"""
import socket
peer = socket.socket(socket.AF_UNIX)
peer.connect({path!r})
socket.send_fds(peer, [b'x'], [0, 1, 2])
print('::result 1')
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(0)
        run = begin(Command(name="x", argv=(PYTHON, "-c", script)))
        peer, _ = await asyncio.get_running_loop().sock_accept(listener)
        fds: list[int] = []

        def received() -> bool:
            with contextlib.suppress(BlockingIOError):
                fds.extend(socket.recv_fds(peer, 1, 3)[1])
            return bool(fds)

        with peer:
            await eventually(received)
            assert await asyncio.wait_for(run.task, PATIENCE) == Success(result=1, code=0)
        for fd in fds:
            os.close(fd)


async def test_many_at_once() -> None:
    verdicts = await asyncio.gather(*(finish(f"seq 100; echo '::result {number}'") for number in range(30)))

    assert [verdict for verdict, _ in verdicts] == [Success(result=number, code=0) for number in range(30)]
    assert all(len(reporter.lines) == 100 for _, reporter in verdicts)


async def test_twenty_runs_leave_no_file_open() -> None:
    before = open_files()

    for number in range(20):
        await finish(f"echo $$; exit {number}")

    assert open_files() == before


TREES = [
    "echo up; exec sleep 1000",
    "sleep 1000 & echo up; wait",
    "trap '' TERM HUP INT; echo up; while :; do sleep 1; done",
    "(trap '' TERM; sleep 1000 & sleep 1000) & echo up; wait",
    "setsid sleep 1000 & echo up; wait",
    "setsid sh -c 'trap \"\" TERM HUP; sleep 1000; :' & echo up; wait",
    "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo up; sleep 1000",
    f"env -i setsid {shlex.quote(PYTHON)} -c 'import time; time.sleep(1000)' MARK & echo up; wait",
    "sh -c 'kill -STOP $$; :' & echo up; wait",
    "nohup sleep 1000 | nohup sleep 1000 & echo up; yes > /dev/null",
]


def start_host(mark: str, *scripts: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(jobqueue.__file__).parents[1])}
    return subprocess.Popen(
        [PYTHON, command_host.__file__, mark, *(script.replace("MARK", mark) for script in scripts)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_host(mark: str, *scripts: str) -> str:
    with start_host(mark, *scripts) as process:
        said, _ = process.communicate(timeout=PATIENCE * 2)
        assert process.returncode == 0
    return said


async def seconds_to_end(trees: list[str]) -> float:
    """Return how long it takes after the server is killed until nothing is left of its commands."""
    mark = uuid.uuid4().hex
    with start_host(mark, *trees) as process:
        assert process.stdout
        for _ in trees:
            assert process.stdout.readline() == "up\n"
        assert len(survivors(mark)) > len(trees)
        process.kill()
        start = time.monotonic()
        await eventually(lambda: not survivors(mark), PATIENCE)
        return time.monotonic() - start


@pytest.mark.parametrize("trees", [TREES, TREES[:1], [TREES[2]] * 3])
async def test_when_the_server_is_killed_nothing_is_left_two_seconds_later(trees: list[str]) -> None:
    # A machine that does other things too may take longer, but not again and again.
    took: list[float] = []
    while not took or (took[-1] >= 2 and len(took) < 5):
        took.append(await seconds_to_end(trees))
    assert took[-1] < 2


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.04, 0.06, 0.1, 0.2])
async def test_when_the_server_is_killed_at_any_moment_nothing_is_left(moment: float) -> None:
    mark = uuid.uuid4().hex
    with start_host(mark, *TREES) as process:
        await eventually(lambda: len(survivors(mark)) > 1)
        await asyncio.sleep(moment)
        process.kill()
    await eventually(lambda: not survivors(mark), PATIENCE)


async def test_a_copy_of_the_killed_server_does_not_keep_its_commands_alive() -> None:
    mark = uuid.uuid4().hex

    def commands() -> list[str]:
        return [line for line in survivors(mark) if "command_host" not in line]

    with start_host(mark, "echo fork; setsid sleep 1000 & sleep 1000") as process:
        assert process.stdout
        assert process.stdout.readline() == "fork\n"
        process.kill()
    await eventually(lambda: not commands())
    assert survivors(mark)


async def test_closing_the_loop_ends_what_runs() -> None:
    mark = uuid.uuid4().hex

    async def abandon() -> None:
        run = begin("trap '' TERM; setsid sleep 1000 & echo up; sleep 1000", mark=mark)
        await run.shows("up")

    await asyncio.to_thread(asyncio.run, abandon())

    assert survivors(mark) == []


@pytest.mark.parametrize(("code", "expected"), [(65, Death), (75, RunAgain), (0, Success)])
async def test_a_line_that_cannot_be_stored_does_not_change_how_a_command_ended(code: int, expected: type) -> None:
    verdict, _ = await finish(f"setsid sleep 1000 & exit {code}", Recorder(TooLargeError("the job", 2, 1)))

    assert (type(verdict), verdict.code) == (expected, code)


@pytest.mark.parametrize(
    "words",
    [r"printf '\\000\\377\\355\\240\\200'", "head -c 300000 /dev/zero", r"printf '\\n\\r\\n'", r"printf '$x {a: 1}'"],
)
@pytest.mark.parametrize(("code", "expected"), [(65, Death), (75, RunAgain)])
async def test_what_a_command_decides_counts_whatever_it_says(words: str, code: int, expected: type) -> None:
    verdict, _ = await finish(f"echo '::result {{]'; {words} >&2; exit {code}")

    assert (type(verdict), verdict.code) == (expected, code)
    error: Any = verdict.error  # type: ignore[union-attr]
    assert bson.encode({"error": json_form.error(error)})
    assert error.message
