"""Adding jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.states import State
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.services.signals.tracing import traceparent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.services.outbox.dependencies import Dependencies
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.documents.documents import Tick
    from jobqueue.store.jobs.jobs import JobStore

MOST_AT_ONCE: Final = 1000


class Producer:
    """Adds jobs with the defaults of their queues."""

    def __init__(
        self,
        jobs: JobStore,
        dependencies: Dependencies,
        outboxes: Outboxes,
        configs: QueueConfigs,
        notifier: Notifier,
    ) -> None:
        self._jobs = jobs
        self._dependencies = dependencies
        self._outboxes = outboxes
        self._configs = configs
        self._notifier = notifier

    async def add(
        self, new: NewJob, *, job_id: str | None = None, tick: Tick | None = None, session: Any = None
    ) -> Job:
        """Add a job.

        Args:
            new: the job.
            job_id: its id, if it has to be a certain one; adding the same id again returns the first job.
            tick: the schedule that makes it, and for when.
            session: a driver session whose transaction the insert joins.

        Raises:
            KeyConflictError: an unfinished job of the queue has its key.
            InvalidInputError: it depends on a job that does not exist.
        """
        config = await self._configs.fresh(new.queue)
        key = config.limit_key(new.data, new.meta) if config.grouped else None
        await self._dependencies.mark_for(new, session)
        job = await self._jobs.insert(
            config.fill(new),
            job_id=job_id,
            limit_key=key,
            extra=_extra(new, tick),
            traceparent=traceparent(),
            session=session,
        )
        if session is None:
            self._announce(job)
            return await self._checked(job)
        return job

    async def add_all(self, new: Sequence[NewJob], *, job_ids: Sequence[str] | None = None) -> list[Job]:
        """Add up to `MOST_AT_ONCE` jobs, all or none, and return them in the same order.

        Raises:
            InvalidInputError: none or too many, or two with the same key.
            KeyConflictError: the key of one is taken.
        """
        if not 1 <= len(new) <= MOST_AT_ONCE:
            raise InvalidInputError({"jobs": [f"takes 1 to {MOST_AT_ONCE:,} jobs"]})
        _distinct_keys(new)
        configs = [await self._configs.fresh(job.queue) for job in new]
        filled = [config.fill(job) for config, job in zip(configs, new, strict=True)]
        keys = [
            config.limit_key(job.data, job.meta) if config.grouped else None
            for config, job in zip(configs, new, strict=True)
        ]
        for place, job in enumerate(new):
            try:
                await self._dependencies.mark_for(job)
            except InvalidInputError as error:
                raise error.under(f"jobs.{place}") from None
        extras = [_extra(job) for job in new]
        jobs = await self._jobs.insert_all(
            filled, job_ids=job_ids, limit_keys=keys, extras=extras, traceparent=traceparent()
        )
        for queue in {job.queue for job in jobs}:
            self._notifier.tell(Wakeup(kind="ready", queue=queue))
            self._notifier.tell(Wakeup(kind="delayed", queue=queue))
        return [await self._checked(job) for job in jobs]

    async def _checked(self, job: Job) -> Job:
        """Look whether what a new job depends on has ended already."""
        if not job.outbox:
            return job
        await self._outboxes.cascade(job.id)
        return await self._jobs.find(job.id) or job

    def _announce(self, job: Job) -> None:
        kind = "ready" if job.state is State.PENDING else "delayed"
        self._notifier.tell(Wakeup(kind=kind, queue=job.queue, job_id=job.id, priority=job.priority))


def _distinct_keys(new: Sequence[NewJob]) -> None:
    seen: set[tuple[str, str]] = set()
    for index, job in enumerate(new):
        if job.key is None:
            continue
        if (job.queue, job.key) in seen:
            raise InvalidInputError({f"jobs.{index}.key": ["is the key of an earlier job of this request"]})
        seen.add((job.queue, job.key))


def _extra(new: NewJob, tick: Tick | None = None) -> dict[str, Any] | None:
    """Return the fields that only some jobs have.

    A job that depends on others is stored with the note that somebody has to look at those afterwards.
    """
    waiting: dict[str, Any] = {"outbox": ["check"]} if new.depends_on else {}
    return (waiting | {"schedule": tick[0], "scheduledAt": tick[1]} if tick is not None else waiting) or None
