"""Decisions of people about steps of which nobody knows whether they have happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.steps.step import check_name
from jobqueue.domain.values import payload
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.insight.audit import Audit
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore


class Doubts:
    """Ends doubts: the step has happened, or it has not."""

    def __init__(self, jobs: JobStore, notifier: Notifier, audit: Audit) -> None:
        self._jobs = jobs
        self._notifier = notifier
        self._audit = audit

    async def decide(
        self, job_id: str, name: str, *, happened: bool, result: Any = None, by: Actor | None = None
    ) -> Job:
        """Say whether a step in doubt has happened; return the job as it is then.

        Args:
            job_id: of the job.
            name: of the step.
            happened: the step has happened, and does not run again.
            result: of a step that has happened: JSON, at most 4 MiB.
            by: for the audit.

        Raises:
            NotFoundError: there is no such job, or no such step of it.
            ConflictError: the step is not in doubt, or it runs at this moment.
            InvalidInputError: the result cannot be kept, or belongs to a step that has not happened.
            TooLargeError: the result is over its limit.
        """
        check_name(name)
        if result is not None and not happened:
            raise InvalidInputError({"result": ["is for a step that has happened"]})
        stored, size = payload.plain(result, "result", naive=True)
        if size > payload.MOST_RESULT:
            raise TooLargeError(f"the result of step {name}", size, payload.MOST_RESULT)
        job = await self._jobs.lean(job_id)
        async with self._audit.noting(("job", job_id), "decide", by) as note:
            await self._jobs.once.decide(job, name, stored, size=size, happened=happened)
            note.after = {"step": name, "happened": happened, "result": stored}
        self._notifier.tell(Wakeup(kind="ready", queue=job.queue, job_id=job_id))
        return await self._jobs.get(job_id)
