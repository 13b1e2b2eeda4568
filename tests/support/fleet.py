"""Worker processes that are killed, stopped and replaced, and what their own journals say of the jobs they ran."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.unmeasured import environment

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job; nanoseconds of the steady clock that all processes of this machine share."""

    job_id: str
    began: int
    ended: int


class Fleet:
    """Some workers at a time, each with its journal.

    Args:
        directory: for the journals.
        url: of MongoDB.
        name: of the database.
        places: jobs at a time in one worker.
    """

    def __init__(self, directory: Path, url: str, name: str, *, places: int) -> None:
        self._directory = directory
        self._arguments = [url, name, str(places)]
        self._all: list[subprocess.Popen[bytes]] = []
        self._died: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = [one for one in self._all if one.poll() is None]
        for one in running:
            one.send_signal(signal.SIGCONT)
            one.send_signal(signal.SIGTERM)
        for one in running:
            one.wait(30)
        if kind is None:
            codes = {
                one.returncode
                for number, one in enumerate(self._all)
                if number not in self._died and self._is_ready(number)
            }
            # One that was only starting may know nothing of signals yet.
            assert codes <= {0}, codes

    def start(self, count: int, *, seed: int | None = None) -> None:
        """Start workers; with a seed they stall at random moments."""
        for _ in range(count):
            number = len(self._all)
            stalls = [] if seed is None else [str(seed + number)]
            command: list[str | Path] = [
                sys.executable,
                "-m",
                "tests.support.journal_worker",
                self._journal(number),
                *self._arguments,
            ]
            self._all.append(subprocess.Popen([*command, *stalls], cwd=ROOT, env=environment()))

    def is_ready(self) -> bool:
        """Tell whether all workers that were started take jobs."""
        return all(self._is_ready(number) for number in range(len(self._all)))

    def kill(self, number: int) -> None:
        """Kill a worker that gets no chance to do anything about it."""
        self._all[number].kill()
        self._all[number].wait(10)
        self._died[number] = time.monotonic_ns()

    def send(self, number: int, what: signal.Signals) -> None:
        """Send a signal to a worker."""
        self._all[number].send_signal(what)

    def runs(self) -> list[Run]:
        """Return all runs so far; one whose worker was killed ended then, one that goes on ends now."""
        now = time.monotonic_ns()
        found: list[Run] = []
        for number in range(len(self._all)):
            begun: dict[str, int] = {}
            for line in self._journal(number).read_text().splitlines() if self._journal(number).exists() else ():
                what, job_id, at = line.split()
                if what == "start":
                    begun[job_id] = int(at)
                elif what == "end":
                    found.append(Run(job_id, begun.pop(job_id), int(at)))
            found += [Run(job_id, at, self._died.get(number, now)) for job_id, at in begun.items()]
        return found

    def _is_ready(self, number: int) -> bool:
        return self._journal(number).exists() and "ready" in self._journal(number).read_text()

    def _journal(self, number: int) -> Path:
        return self._directory / f"journal-{number}"


def most_at_a_time(runs: list[Run], *, since: int = 0) -> int:
    """Return how many runs overlapped at most, from a moment on."""
    # An end and a beginning at the same nanosecond do not overlap.
    edges = sorted([(run.ended, -1) for run in runs] + [(run.began, 1) for run in runs])
    now = most = 0
    for at, change in edges:
        now += change
        if at >= since:
            most = max(most, now)
    return most
