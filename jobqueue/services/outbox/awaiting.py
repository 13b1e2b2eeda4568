"""End the wait of jobs for their awaited children.

A suspended parent has a note that asks for a look at its children, and each child has a note for its own end. Both are
processed any number of times: a guarded update of the parent ends its wait once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseError, NotFoundError
from jobqueue.domain.jobs.transitions import AWAITED, LOOK
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore

log = get_logger(__name__)
AWAIT_SECONDS: Final = 10.0
"""Seconds between looks at parents whose children another tool may have deleted."""
_AT_ONCE: Final = 100
_AGAIN_SECONDS: Final = 1.0


class Awaiting:
    """Wakes parents whose awaited children have ended."""

    def __init__(self, jobs: JobStore, notifier: Notifier) -> None:
        self._jobs = jobs
        self._calls = jobs.calls
        self._notifier = notifier
        self._after: str | None = None

    async def follow(self, job: Job) -> None:
        """Carry out the notes of a job about awaited children: its own end as one, or its wait for others."""
        if AWAITED in job.outbox:
            await self.child_ended(job)
        if any(note.startswith(LOOK) for note in job.outbox):
            await self.look(job)

    async def child_ended(self, child: Job) -> None:
        """Wake the parent of a child that has ended or is deleted, if it was the last one that the parent waits for."""
        if child.awaited_by is None or child.parent_id is None:
            return
        try:
            parent = await self._jobs.lean(child.parent_id)
        except NotFoundError:
            return
        if parent.state is State.DELAYED:
            await self._look(
                parent, [step for step in _awaited(parent) if step.call and step.call.id == child.awaited_by]
            )

    async def look(self, parent: Job) -> None:
        """Wake a suspended job if all children of a step that it waits for have ended."""
        if parent.state is State.DELAYED:
            await self._look(parent, _awaited(parent))

    async def run_once(self) -> float | None:
        """Look at a page of suspended jobs; return seconds until the next page, if any.

        Notes in outboxes wake jobs at once. This finds children that another tool has deleted.
        """
        parents = await self._calls.waiting(self._after, _AT_ONCE)
        for parent in parents:
            try:
                await self.look(parent)
            except DatabaseError:
                raise
            except Exception:
                log.exception("awaited children not checked", job_id=parent.id)
        self._after = parents[-1].id if len(parents) == _AT_ONCE else None
        return None if self._after is None else _AGAIN_SECONDS

    async def _look(self, parent: Job, steps: list[Step]) -> None:
        for step in steps:
            if step.call is None or await self._calls.is_open(step.call):
                continue
            if await self._calls.wake(parent, step, step.call):
                self._notifier.tell(Wakeup(kind="ready", queue=parent.queue, job_id=parent.id))
                return


def _awaited(parent: Job) -> list[Step]:
    """Return the steps for whose children a job is suspended."""
    names = parent.wait.names if parent.wait is not None else ()
    return [step for step in parent.steps or () if step.awaits and step.name in names]
