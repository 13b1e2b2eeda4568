"""The calls of `JobQueue` about everything but single jobs and batches: searches, queues, schedules and statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import PYTHON
from jobqueue.domain.insight.event import EventFilter
from jobqueue.domain.jobs.job import DEFAULT_QUEUE
from jobqueue.domain.queues.queue import check_reason
from jobqueue.domain.queues.queue_options import QueueOptions, queue_changes
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.search.filter_values import filter_json
from jobqueue.domain.search.pipelines import compile_pipeline
from jobqueue.domain.search.search import check_most, search
from jobqueue.domain.values.checks import check_id, check_queue
from jobqueue.domain.values.iso8601 import aware
from jobqueue.services.failure_calls import FailureCalls
from jobqueue.services.insight.events import KeepAlive
from jobqueue.services.insight.series import SeriesRequest
from jobqueue.services.insight.stats import WINDOWS, StatsRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.insight.event import Gap, JobEvent
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.search.query import Count
    from jobqueue.services.application import Runtime
    from jobqueue.services.queues.explain import Why
    from jobqueue.services.queues.queue_why import QueueWhy
    from jobqueue.services.work.roster import ServedType, WorkerView

_PAUSES: Final = (0.05, 1.0)
_MOST_WORKERS: Final = 1_000


class Management(FailureCalls):
    """Calls that need the services behind a queue."""

    if TYPE_CHECKING:

        async def open(self) -> Runtime:
            """Connect once, and return the services."""

    async def search(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        sort: Mapping[str, int] | None = None,
        slow: bool = False,
        limit: int = 200,
    ) -> AsyncIterator[Job]:
        """Yield all jobs that a MongoDB filter finds; as `AsyncClient.search`.

        Args:
            filter: operators of an allowlist; dates may be dates with a time zone.
            sort: one field with 1, or with -1 for the highest first; ``{"insertAt": -1}`` by default.
            slow: search as long as necessary, up to a hard limit.
            limit: jobs of one page, at most 500.

        Raises:
            InvalidInputError: naming each mistake of the filter.
            TooCostlyError: the search would look at too many jobs.
        """
        searches, cursor = (await self.open()).searches, None
        query = None if filter is None else filter_json(filter, "filter")
        while True:
            page = await searches.page(search(query, sort=sort, limit=limit, cursor=cursor, slow=slow))
            for job in page.items:
                yield job
            cursor = page.next
            if cursor is None:
                return

    async def count(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        most: int = 1000,
        slow: bool = False,
    ) -> Count:
        """Count the jobs that a MongoDB filter finds; as `AsyncClient.count`.

        Raises:
            InvalidInputError, TooCostlyError: as `search`.
        """
        query = search(None if filter is None else filter_json(filter, "filter"), slow=slow)
        return await (await self.open()).searches.count(query, most=check_most(most))

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]], *, slow: bool = False) -> list[dict[str, Any]]:
        """Return the rows of a pipeline over jobs, at most as many as one reply of the API has.

        Raises:
            InvalidInputError, TooCostlyError: as `search`.
        """
        compiled = compile_pipeline(filter_json(pipeline, "pipeline"))
        rows = await (await self.open()).searches.aggregate(compiled, slow=slow)
        return [dict(row) for row in rows.items]

    async def why(self, job_id: str) -> Why:
        """Return the reasons why a job is not running, none for a job that may be claimed at any moment.

        Raises:
            NotFoundError: there is no job of this id.
        """
        return await (await self.open()).explainer.why(check_id(job_id))

    async def configure(self, queue: str, **options: Unpack[QueueOptions]) -> QueueConfig:
        """Change the configuration of a queue, in all processes within a second; ``None`` gives the default.

        Raises:
            InvalidInputError: naming each unacceptable option.
        """
        config, _ = await (await self.open()).queues.patch(check_queue(queue), queue_changes(options), by=PYTHON)
        return config

    async def config(self, queue: str) -> QueueConfig:
        """Return the configuration of a queue."""
        return (await (await self.open()).queues.tagged(check_queue(queue)))[0]

    async def pause(self, queue: str = DEFAULT_QUEUE, *, paused: bool = True, reason: str | None = None) -> None:
        """Stop all processes from claiming from a queue, or (``paused=False``) let them claim again.

        Args:
            queue: its name.
            paused: or resume it.
            reason: of the pause, for people; without one a queue that is paused already keeps its reason.
        """
        if reason is not None:
            check_reason(reason)
        await (await self.open()).queues.set_paused(check_queue(queue), paused=paused, by=PYTHON, reason=reason)

    async def queue_why(self, queue: str) -> QueueWhy:
        """Return the reasons why no job of a queue starts."""
        return await (await self.open()).queue_explainer.why(check_queue(queue))

    async def put_schedule(
        self,
        name: str,
        job: NewJob,
        *,
        cron: str | None = None,
        timezone: str | None = None,
        every: float | None = None,
        missed: str | None = None,
        paused: bool = False,
    ) -> dict[str, Any]:
        """Create or replace a schedule; an equal schedule changes nothing. Return it as JSON, with its next times.

        Args:
            name: of the schedule.
            job: the job that is made each time.
            cron: five or six fields, or a word such as ``@daily``.
            timezone: of the cron expression, such as ``Europe/Berlin``; UTC by default.
            every: seconds, in place of a cron expression.
            missed: ``skip``, ``one`` or ``all``: jobs for times at which no process ran.
            paused: make nothing until it is resumed.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        fields = {"cron": cron, "timezone": timezone, "every": every, "missed": missed}
        body = {name: value for name, value in fields.items() if value is not None}
        schedule = schedules.read(name, {**body, "job": {}, "paused": paused}, lambda *_: schedules.check_job(job))
        service = (await self.open()).schedules
        stored, _ = await service.put(schedule, by=PYTHON)
        return await service.view(stored)

    async def schedule(self, name: str) -> dict[str, Any]:
        """Return a schedule as JSON, with its next and last runs.

        Raises:
            NotFoundError: there is no such schedule.
        """
        service = (await self.open()).schedules
        return await service.view(await service.get(name))

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; its jobs stay."""
        await (await self.open()).schedules.delete(name, by=PYTHON)

    async def run_schedule(self, name: str) -> Job:
        """Make one job of a schedule now, besides its times."""
        return await (await self.open()).manual_runs.run(name, by=PYTHON)

    async def pause_schedule(self, name: str, *, paused: bool = True) -> None:
        """Make a schedule make nothing, or (``paused=False``) make jobs again from now on."""
        await (await self.open()).schedules.set_paused(name, paused=paused, by=PYTHON)

    async def stats(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        windows: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Return jobs by state, throughput, and percentiles of waiting and running, as JSON.

        Args:
            queue: only its jobs.
            type: only jobs of this type.
            windows: some of ``5m``, ``1h``, ``24h`` and ``7d``; all by default.

        Raises:
            InvalidInputError: a window is none of these.
        """
        _check_all(windows, WINDOWS, "windows")
        asked = StatsRequest(windows=tuple(windows) or tuple(WINDOWS), queue=queue, type=type)
        return await (await self.open()).stats.view(asked, EVERYTHING)

    async def series(
        self,
        *,
        step: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        by: str | None = None,
    ) -> dict[str, Any]:
        """Return throughput and percentiles in equal steps of time, as JSON; as `AsyncClient.series`.

        Raises:
            InvalidInputError: the span or the step is not acceptable.
        """
        for name, moment in {"since": since, "until": until}.items():
            if moment is not None:
                aware(moment, name)
        asked = SeriesRequest(step=step, since=since, until=until, queue=queue, type=type, by=by)
        return await (await self.open()).series.view(asked, EVERYTHING)

    async def events(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        job: str | None = None,
        batch: str | None = None,
        states: Sequence[State | str] = (),
        progress: bool = False,
        after: str | None = None,
    ) -> AsyncIterator[JobEvent | Gap]:
        """Yield changes of jobs as they happen; a `Gap` stands for changes that may have been missed.

        Args:
            queue: only its jobs.
            type: only jobs of this type.
            job: only this job.
            batch: only jobs of this batch.
            states: only changes to these states.
            progress: also progress and finished steps.
            after: the ``position`` of an event: begin with the changes after it.

        Raises:
            InvalidInputError: an id or a state is none.
        """
        _check_all(states, list(State), "states")
        for wanted in (job, batch):
            if wanted is not None:
                check_id(wanted)
        interest = EventFilter(queue=queue, type=type, with_progress=progress)
        interest = replace(interest, job_id=job, batch_id=batch, states=tuple(State(state) for state in states))
        async for item in (await self.open()).events.follow(interest, after):
            if not isinstance(item, KeepAlive):
                yield item

    async def workers(self) -> list[WorkerView]:
        """Return workers that gave a sign of life within the last day, with the jobs that they run."""
        return await (await self.open()).roster.workers(EVERYTHING, after=None, limit=_MOST_WORKERS)

    async def drain_worker(self, name: str, *, undo: bool = False) -> WorkerView:
        """Drain a worker: it claims no more jobs, finishes what it runs, and leaves; return it.

        Args:
            name: of the worker, as `workers` has it.
            undo: the drain of a worker that has not left yet.

        Raises:
            NotFoundError: no worker of this name gave a sign of life within the last day.
            ConflictError: its process is silent, is of a version without drains, or is about to leave.
        """
        drains = (await self.open()).drains
        return await (drains.undo(name, by=PYTHON) if undo else drains.drain(name, by=PYTHON))

    async def types(self, queue: str | None = None) -> list[ServedType]:
        """Return the types of jobs that living workers and processors serve, in one queue or all, with schemas."""
        served = await (await self.open()).roster.types(EVERYTHING)
        return [each for each in served if queue is None or each.queue == check_queue(queue)]


def _check_all(names: Sequence[str], known: Collection[str], path: str) -> None:
    """Make sure that a sequence has known words only."""
    if isinstance(names, str) or any(name not in known for name in names):
        raise InvalidInputError({path: [f"must be a list of some of {', '.join(known)}"]})
