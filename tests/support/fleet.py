"""Worker processes that are killed, stopped and replaced, and the runs in their journals."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.faults import journals
from tests.support.unmeasured import environment
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tests.support.faults.journals import Run

ROOT = Path(__file__).parents[2]


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
        self._all: list[ModuleProcess] = []
        self._died: dict[int, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:
            codes = {
                process.returncode
                for number, process in enumerate(self._all)
                if number not in self._died and self._is_ready(number)
            }
            # One that was only starting may know nothing of signals yet.
            assert codes <= {0}, codes

    def start(
        self,
        count: int,
        *,
        seed: int | None = None,
        url: str | None = None,
        program: str = "tests.support.workers.journal_worker",
        first: Sequence[str] = (),
    ) -> None:
        """Start workers.

        Args:
            count: how many.
            seed: with one they stall at random moments.
            url: another way to MongoDB.
            program: another module to run.
            first: arguments it takes before those of a journal worker.
        """
        for _ in range(count):
            number = len(self._all)
            stalls = [] if seed is None else [str(seed + number)]
            words = [*first, str(self._journal(number)), url or self._arguments[0], *self._arguments[1:], *stalls]
            self._all.append(ModuleProcess(program, *words, cwd=ROOT, env=environment()))

    def stop(self) -> None:
        """Ask all workers to stop, and wait for their ends."""
        running = [process for process in self._all if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(30)

    def is_ready(self) -> bool:
        """Tell whether all started workers take jobs."""
        return all(self._is_ready(number) for number in range(len(self._all)))

    def kill(self, number: int) -> None:
        """Kill a worker without a chance to clean up."""
        self._all[number].kill()
        self._all[number].wait(10)
        self._died[number] = time.monotonic_ns()

    def has_died(self, number: int) -> bool:
        """Tell whether a worker has ended by itself."""
        if self._all[number].poll() is None:
            return False
        self._died.setdefault(number, time.monotonic_ns())
        return True

    def replace_dead(self) -> None:
        """Start a worker for each that has died by itself."""
        for number, process in enumerate(list(self._all)):
            if process.poll() is not None and number not in self._died:
                self._died[number] = time.monotonic_ns()
                self.start(1)

    def send(self, number: int, what: signal.Signals) -> None:
        """Send a signal to a worker."""
        self._all[number].send_signal(what)

    def runs(self) -> list[Run]:
        """Return all runs so far; one whose worker was killed ended then, one that goes on ends now."""
        return journals.runs({self._journal(number): self._died.get(number) for number in range(len(self._all))})

    def runs_of(self, number: int) -> list[Run]:
        """Return the runs of one worker."""
        return journals.runs({self._journal(number): self._died.get(number)})

    def _is_ready(self, number: int) -> bool:
        return self._journal(number).exists() and "ready" in self._journal(number).read_text()

    def _journal(self, number: int) -> Path:
        return self._directory / f"journal-{number}"
