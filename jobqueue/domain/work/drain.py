"""The drain of a worker: it claims no more jobs, finishes what it runs, and leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.domain.errors import JobQueueError

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A drain that somebody has asked for.

    Attributes:
        id: of this drain.
        since: the date of the request.
        by: the name of the person.
        queues: the queues that the worker served then.
        leaving: the worker has finished its jobs, and nobody can undo the drain any more.
    """

    id: str
    since: datetime
    by: str
    queues: tuple[str, ...] = ()
    leaving: bool = False


class WorkerDrainedError(JobQueueError):
    """Tell a worker that somebody has drained it: it is to claim no more jobs, to finish what it runs, and to leave."""

    slug = "worker-drained"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"worker {name} was drained: claim no more jobs, finish those that run, and leave")
