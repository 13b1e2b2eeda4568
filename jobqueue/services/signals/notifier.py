"""Wake-ups within one process: who waits for jobs or configuration hears of them here, whatever the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.loop_errors import LoopErrors

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Wakeup:
    """Something happened that somebody may wait for.

    Attributes:
        kind: ``ready``, a job may be claimable; ``delayed``, a job will be; ``killed``; ``config``; ``room``, a limit
            may let another job start; ``all``.
        queue: where, if known.
        job_id: the one job it is about; without it, any number of jobs may be.
        priority: of a new job, which lies behind all others of its priority.
        relayed: another process has done it.
    """

    kind: str
    queue: str | None = None
    job_id: str | None = None
    priority: int | None = None
    relayed: bool = False


class Notifier:
    """Hands every wake-up to all listeners, at once; a listener must not block.

    Attributes:
        turns: survive the errors of listeners, so that the others hear.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[Wakeup], None]] = []
        self.turns = LoopErrors("wake-ups")

    def listen(self, listener: Callable[[Wakeup], None]) -> Callable[[], None]:
        """Call ``listener`` from now on; return how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, wake: Wakeup) -> None:
        """Wake who waits."""
        for listener in tuple(self._listeners):
            with self.turns.turn():
                listener(wake)
