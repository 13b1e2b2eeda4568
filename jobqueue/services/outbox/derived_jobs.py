"""Create children and callbacks: jobs whose ids follow from their cause, so that each exists once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue import tracing
from jobqueue.domain.errors import KeyConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.insight.trace_context import TraceContext
    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.workflow.dependencies import DependencyStore

_TRIES: Final = 20


class DerivedJobs:
    """Creates jobs that follow from the end of another job or of a batch."""

    def __init__(
        self, jobs: JobStore, dependencies: DependencyStore, configs: QueueConfigs, notifier: Notifier
    ) -> None:
        self._jobs = jobs
        self._dependencies = dependencies
        self._configs = configs
        self._notifier = notifier

    async def create(
        self,
        new: NewJob,
        job_id: str,
        *,
        trace: TraceContext | None,
        parent_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Create a job, unless the job exists; return its id if its dependencies have to be checked.

        Args:
            new: the job.
            job_id: that follows from the cause.
            trace: of the cause, whichever process creates the job.
            parent_id: the parent of a child.
            extra: fields of some jobs only, as they are stored.

        Raises:
            KeyConflictError: another unfinished job has its key.
        """
        config = await self._configs.fresh(new.queue)
        fields = dict(extra or {})
        if new.depends_on:
            await self._dependencies.mark(new.depends_on)
            fields["outbox"] = ["check"]
        tries = _TRIES
        while True:
            try:
                with tracing.carried(trace):
                    made = await self._jobs.insert(
                        config.fill(new),
                        job_id=job_id,
                        parent_id=parent_id,
                        limit_key=config.limit_key(new.data, new.meta),
                        extra=fields or None,
                    )
            except KeyConflictError as conflict:
                if conflict.job_id == job_id:
                    return []
                tries -= 1
                # The holder of the key has ended at this moment if the conflict does not name it.
                if conflict.job_id or not tries:
                    raise
            else:
                self._notifier.announce(made)
                return [made.id] if made.outbox else []
