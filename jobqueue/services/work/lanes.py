"""Jobs that a process can run, by queue and type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.work.verdict import Processor

Key = tuple[str, tuple[str, ...] | None, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Jobs that this process can run: of one queue, of some types or (``None``) of any but the excluded ones.

    Attributes:
        limit: jobs of the lane at a time in this process.
        stop_seconds: seconds that a run may take to end after its time is over.
        config: the queue's configuration that asks for the lane, if any; under another one the lane claims nothing.
        together: several jobs may be claimed at once.
        schemas: returns the JSON Schemas of the data of jobs as JSON by type, as far as they are known.
    """

    queue: str
    types: tuple[str, ...] | None
    processor: Callable[[Job], Processor]
    excluded: tuple[str, ...] = ()
    limit: int | None = None
    stop_seconds: float = 0
    config: QueueConfig | None = None
    together: bool = False
    schemas: Callable[[], Mapping[str, str]] = field(default=dict, compare=False)

    @property
    def key(self) -> Key:
        """The queue and types by which lanes differ."""
        return self.queue, self.types, self.excluded
