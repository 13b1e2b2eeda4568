"""Wake-ups within one process, for all parts that wait for jobs or for configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.domain.attempts.states import State
from jobqueue.loop_errors import LoopErrors

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Wakeup:
    """An event that listeners may wait for.

    Attributes:
        kind: ``ready``, a job may be claimable; ``delayed``, a job will be claimable; ``killed``; ``config``; ``room``,
            a limit may let another job start; ``all``.
        queue: the queue of the event, if known.
        job_id: the job of the event; ``None`` for any number of jobs.
        priority: of a new job, which comes after all other jobs of its priority.
        relayed: the event happened in another process.
    """

    kind: str
    queue: str | None = None
    job_id: str | None = None
    priority: int | None = None
    relayed: bool = False


class Notifier:
    """Hands every wake-up to all listeners, at once; a listener must not block.

    Attributes:
        turns: keep the error of one listener from the other listeners.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[Wakeup], None]] = []
        self.turns = LoopErrors("wake-ups")

    def listen(self, listener: Callable[[Wakeup], None]) -> Callable[[], None]:
        """Call ``listener`` from now on; return a function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, wake: Wakeup) -> None:
        """Wake all listeners."""
        for listener in tuple(self._listeners):
            with self.turns.turn():
                listener(wake)

    def announce(self, job: Job) -> None:
        """Tell of one new job."""
        kind = "ready" if job.state is State.PENDING else "delayed"
        self.tell(Wakeup(kind=kind, queue=job.queue, job_id=job.id, priority=job.priority))

    def announce_all(self, queue: str | None = None) -> None:
        """Tell of any number of new jobs, ready and delayed, in one queue or in any."""
        self.tell(Wakeup(kind="ready", queue=queue))
        self.tell(Wakeup(kind="delayed", queue=queue))
