"""Counting what this process sees of a run, so that showing the progress costs the database nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import Die, JobCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobqueue.domain.jobs.job import Job

_WINDOW_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The counts of one moment.

    Attributes:
        total: how many files there are, or ``None`` before that is known.
        done: analysed.
        failed: failed or killed for good.
        retried: attempts that failed and are made again.
        running: analyses now.
        rate: analyses that ended per second, over the last seconds.
        line: what was logged last.
    """

    total: int | None
    done: int
    failed: int
    retried: int
    running: int
    rate: float
    line: str

    @property
    def ended(self) -> int:
        """How many analyses came to an end, good or bad."""
        return self.done + self.failed


class Tally:
    """Counts from any thread.

    Args:
        clock: steady seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._total: int | None = None
        self._done = self._failed = self._retried = self._running = 0
        self._line = ""
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])

    def start_from(self, *, done: int, failed: int) -> None:
        """Count what was done before, without counting it for the rate."""
        with self._lock:
            self._done, self._failed = done, failed
            self._marks = deque([(self._clock(), done + failed)])

    def expect(self, total: int) -> None:
        """Note how many files there are."""
        self._total = total

    def say(self, line: str) -> None:
        """Note what was logged last."""
        self._line = line

    @contextlib.contextmanager
    def attempt(self, job: Job) -> Iterator[None]:
        """Count one attempt of an analysis by how the block ends."""
        with self._lock:
            self._running += 1
        done = failed = retried = 0
        try:
            yield
            done = 1
        except JobCancelledError:
            raise
        except Exception as error:
            last = isinstance(error, Die) or job.attempts_made >= job.attempts
            failed, retried = int(last), int(not last)
            raise
        finally:
            with self._lock:
                self._running -= 1
                self._done += done
                self._failed += failed
                self._retried += retried

    def snapshot(self) -> Snapshot:
        """Return the counts; to be called about once a second or more often, for the rate."""
        with self._lock:
            now, ended = self._clock(), self._done + self._failed
            while len(self._marks) > 1 and now - self._marks[1][0] >= _WINDOW_SECONDS:
                self._marks.popleft()
            since, before = self._marks[0]
            self._marks.append((now, ended))
            return Snapshot(
                total=self._total,
                done=self._done,
                failed=self._failed,
                retried=self._retried,
                running=self._running,
                rate=(ended - before) / (now - since) if now > since else 0.0,
                line=self._line,
            )
