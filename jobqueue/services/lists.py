"""The calls of `JobQueue` about batches, schedules and people's decisions, with the names of `AsyncClient`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.insight.audit import PYTHON
from jobqueue.domain.schedules.outlook import STARTS
from jobqueue.domain.search.job_filter import meta_pairs
from jobqueue.domain.values.checks import check_id, check_queue
from jobqueue.domain.workflow.batch import FINISHED
from jobqueue.domain.workflow.batch_query import BatchQuery
from jobqueue.services.schedules.previews import preview

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from jobqueue.domain.workflow.batch import BatchView
    from jobqueue.services.application import Runtime

_PAGE: Final = 200
_PAUSES: Final = (0.05, 1.0)


class Lists:
    """Calls that need the services behind a queue."""

    if TYPE_CHECKING:

        async def open(self) -> Runtime:
            """Connect once, and return the services."""

    async def schedules(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all schedules by name, as `schedule` returns each."""
        service, after = (await self.open()).schedules, ""
        while page := await service.store.page(after, _PAGE):
            for stored in page:
                yield await service.view(stored)
            after = page[-1].name

    async def preview_schedule(
        self,
        name: str,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: float | None = None,
        count: int = STARTS,
    ) -> dict[str, Any]:
        """Return the next times of a schedule that need not be stored, as JSON; nothing is changed.

        Args:
            name: of the schedule; if one is stored, ``every`` counts from its creation, else from now on.
            cron: five or six fields, or a word such as ``@daily``.
            timezone: of the cron expression, such as ``Europe/Berlin``; UTC by default.
            every: seconds, in place of a cron expression.
            count: of times, at most 50.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        fields = {"cron": cron, "timezone": timezone, "every": every}
        definition = {field: value for field, value in fields.items() if value is not None}
        return await preview((await self.open()).schedules.store, definition, name=name, count=count)

    async def batches(
        self,
        state: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the name of the API
        failed: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[BatchView]:
        """Yield batches, newest first.

        Args:
            state: ``open`` or ``finished``.
            type: only batches with a job of this type.
            failed: only batches with a job that has failed or was killed.
            meta: values that the batch itself has, by path.
        """
        query = BatchQuery(state=state, type=type, failed=failed, meta=meta_pairs(meta))
        pages, place = (await self.open()).batches.pages, None
        while True:
            page, place = await pages.page(query, after=place, limit=_PAGE)
            for view in page:
                yield view
            if place is None:
                return

    async def wait_batch(self, batch_id: str, timeout: float | None = None) -> BatchView:  # noqa: ASYNC109 - it goes on after it
        """Wait until a batch has finished, and return it.

        Args:
            batch_id: the batch.
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            TimeoutError: the time is over; the batch goes on.
        """
        batches, pause = (await self.open()).batches, _PAUSES[0]
        deadline = None if timeout is None else time.monotonic() + timeout
        while (seen := await batches.get(check_id(batch_id))).batch.state != FINISHED:
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"batch {batch_id} has not finished within {timeout:g} seconds")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _PAUSES[1])
        return seen

    async def signal_by_key(
        self, queue: str, key: str, name: str, value: Any = None, *, signal_id: str | None = None
    ) -> bool:
        """Send a signal to the unfinished job of a queue with this key; as `JobQueue.signal`.

        Raises:
            NotFoundError: there is no such job.
        """
        signals = (await self.open()).signals
        job_id = await signals.holder(check_queue(queue), key)
        return not (await signals.send(job_id, name, value, signal_id=signal_id, by=PYTHON)).existed

    async def decide(self, job_id: str, name: str, *, happened: bool, result: Any = None) -> None:
        """Say whether a step in doubt has happened, and with which result; the job goes on.

        Raises:
            ConflictError: the job has no such step in doubt.
        """
        await (await self.open()).doubts.decide(check_id(job_id), name, happened=happened, result=result, by=PYTHON)

    async def delete_queue(self, name: str, *, force: bool = False) -> None:
        """Delete a queue's configuration; ``force`` kills its unfinished jobs.

        Raises:
            UnfinishedJobsError: the queue has unfinished jobs.
        """
        await (await self.open()).queues.delete(check_queue(name), force=force, by=PYTHON)
