"""Add jobs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from jobqueue import tracing
from jobqueue.domain.errors import InvalidInputError

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
        self, jobs: JobStore, dependencies: Dependencies, outboxes: Outboxes, configs: QueueConfigs, notifier: Notifier
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
            job_id: a certain id for the job; adding this id again returns the first job.
            tick: the schedule that makes the job, and its time.
            session: a session of the driver whose transaction the insert joins.

        Raises:
            KeyConflictError: an unfinished job of the queue has its key.
            InvalidInputError: the job depends on a job that does not exist.
        """
        # A tick happens whatever its data: the definition of the schedule was checked.
        config = await (self._configs.admit(new) if tick is None else self._configs.fresh(new.queue))
        await self._dependencies.mark_for(new, session)
        # A schedule begins a trace: which process makes its job, and in which of its traces, says nothing.
        with (
            contextlib.nullcontext() if tick is None else tracing.carried(None),
            tracing.adding(new.type, new.queue) as span,
        ):
            job = await self._jobs.insert(
                config.fill(new),
                job_id=job_id,
                limit_key=config.limit_key(new.data, new.meta),
                extra=_extra(new, tick),
                session=session,
            )
            span.set("messaging.message.id", job.id)
        if session is None:
            self._notifier.announce(job)
            return await self._checked(job)
        return job

    async def prepared(self, new: NewJob) -> dict[str, Any]:
        """Return the document of a new job without dependencies, which the caller inserts by itself.

        Raises:
            InvalidInputError: no living worker takes the data, and the queue is to refuse such jobs.
        """
        config = await self._configs.admit(new)
        return await self._jobs.document(config.fill(new), limit_key=config.limit_key(new.data, new.meta))

    async def add_all(self, new: Sequence[NewJob], *, job_ids: Sequence[str] | None = None) -> list[Job]:
        """Add up to `MOST_AT_ONCE` jobs, all or none, and return them in the same order.

        Raises:
            InvalidInputError: no jobs, too many, or two with the same key.
            KeyConflictError: an unfinished job has the key of one.
        """
        if not 1 <= len(new) <= MOST_AT_ONCE:
            raise InvalidInputError({"jobs": [f"takes 1 to {MOST_AT_ONCE:,} jobs"]})
        check_keys(new)
        configs = [await self._configs.admit(job, f"jobs.{place}") for place, job in enumerate(new)]
        filled = [config.fill(job) for config, job in zip(configs, new, strict=True)]
        keys = [config.limit_key(job.data, job.meta) for config, job in zip(configs, new, strict=True)]
        for place, job in enumerate(new):
            if not job.depends_on:
                continue
            try:
                await self._dependencies.mark_for(job)
            except InvalidInputError as error:
                raise error.under(f"jobs.{place}") from None
        extras = [_extra(job) for job in new]
        queues = {job.queue for job in new}
        with tracing.adding(None, new[0].queue if len(queues) == 1 else None, len(new)):
            jobs = await self._jobs.insert_all(filled, job_ids=job_ids, limit_keys=keys, extras=extras)
        for queue in queues:
            self._notifier.announce_all(queue)
        return [await self._checked(job) if job.outbox else job for job in jobs]

    async def _checked(self, job: Job) -> Job:
        """Return a new job after a look at its dependencies, which may have ended already."""
        if not job.outbox:
            return job
        await self._outboxes.cascade(job.id)
        return await self._jobs.find(job.id) or job


def check_keys(new: Sequence[NewJob]) -> None:
    """Make sure that no two jobs of a request have the same key.

    Raises:
        InvalidInputError: naming the second job of a key.
    """
    seen: set[tuple[str, str]] = set()
    for place, job in enumerate(new):
        if job.key is None:
            continue
        if (job.queue, job.key) in seen:
            raise InvalidInputError({f"jobs.{place}.key": ["is the key of an earlier job of this request"]})
        seen.add((job.queue, job.key))


def _extra(new: NewJob, tick: Tick | None = None) -> dict[str, Any] | None:
    """Return the fields that only some jobs have; ``check`` in the outbox asks for a look at the dependencies."""
    waiting: dict[str, Any] = {"outbox": ["check"]} if new.depends_on else {}
    return (waiting | {"schedule": tick[0], "scheduledAt": tick[1]} if tick is not None else waiting) or None
