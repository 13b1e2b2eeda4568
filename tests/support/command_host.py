"""Runs shell scripts as commands: as a process to be killed, and by helpers that the tests of commands share.

As a program it takes scripts as arguments, runs them all at once, and prints each log line and, at the end, by how much
its memory has grown; at the line ``fork`` it forks.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import Job
from jobqueue.processors.commands.command import CommandProcessor
from jobqueue.processors.commands.commands_file import Command
from tests.support.memory_steps import MemorySteps

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "JOBQUEUE_TEST_MARK"


def make_job(**changes: Any) -> Job:
    now = datetime.now(UTC)
    fields: dict[str, Any] = dict.fromkeys(Job.__dataclass_fields__) | {
        "id": "0123456789abcdef01234567",
        "queue": "default",
        "type": "test",
        "data": {},
        "meta": {},
        "priority": 0,
        "attempts": 3,
        "attempts_made": 1,
        "backoff": FixedBackoff(1),
        "delay": 0,
        "lease": 60,
        "insert_at": now,
        "start_at": now,
        "depends_on": (),
        "progress": 0,
        "logs": (),
        "history": (),
        "state": State.PROCESSING,
        "on_success_delete": False,
        "outbox": (),
        "run": 0,
        "log_count": 0,
    }
    return Job(**(fields | changes))


def shell(script: str, **fields: Any) -> Command:
    return Command(name="test", argv=("/bin/sh", "-c", script), **fields)


def survivors(mark: str) -> list[str]:
    """Return the command lines of processes with the mark in their environment or arguments."""
    return [command for command, _ in _marked(mark)]


def states(mark: str) -> list[str]:
    """Return the states of these processes; ``T`` is a stopped one (proc_pid_stat(5))."""
    return [state for _, state in _marked(mark)]


def _marked(mark: str) -> Iterator[tuple[str, str]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            command = (entry / "cmdline").read_bytes()
            marked = mark.encode() in command or f"{MARK}={mark}".encode() in (entry / "environ").read_bytes()
        except OSError:
            continue
        if marked and state not in {b"Z", b"X"} and entry.name != str(os.getpid()):
            yield command.replace(b"\0", b" ").decode(errors="replace"), state.decode()


def fork() -> None:
    """Leave a copy of this process that keeps all of its files open and outlives it for a while."""
    parent = os.getpid()
    if os.fork() == 0:
        os.close(1)
        while os.getppid() == parent:
            time.sleep(0.05)
        # Longer than a busy machine takes to end the commands.
        time.sleep(90)
        os._exit(0)


class Printer:
    steps = MemorySteps()

    async def log(self, line: str, level: str | None = None) -> None:  # noqa: ARG002 - as a reporter has it
        if line == "fork":
            fork()
        print(line[:100], flush=True)

    async def progress(self, percent: float) -> None:
        """Ignore the progress."""


async def host(mark: str, scripts: list[str]) -> None:
    commands = [shell(script, env={MARK: mark}, max_output=100_000) for script in scripts]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdicts = await asyncio.gather(
        *(
            CommandProcessor(command, token=f"{mark}-{number}", url=None).run(make_job(), Printer())
            for number, command in enumerate(commands)
        )
    )
    for verdict in verdicts:
        print(verdict)
    print("grown", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    asyncio.run(host(sys.argv[1], sys.argv[2:]))
