"""`JobQueue`: the Python API of the queue."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack, overload

from jobqueue.domain.attempts.attempt import LogLine
from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.insight.audit import PYTHON
from jobqueue.domain.jobs.job import Job, NewJob
from jobqueue.domain.jobs.options import new_job
from jobqueue.domain.search.job_filter import job_query
from jobqueue.domain.search.query import JobQuery, Page
from jobqueue.domain.steps.step import UNFORGOTTEN, FromStep
from jobqueue.domain.values.checks import check_id
from jobqueue.processors.callbacks.callback import CallbackProcessor
from jobqueue.services.application import Runtime
from jobqueue.services.erasing import Erasing
from jobqueue.services.lists import Lists
from jobqueue.services.management import Management
from jobqueue.services.many import Many
from jobqueue.services.work.lanes import Lane
from jobqueue.services.workflow.batches import KILLED_BATCH
from jobqueue.settings import Settings
from jobqueue.tasks.cron import is_dropped
from jobqueue.tasks.registry import HandlerRegistry
from jobqueue.tasks.started import StartedBatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.search.job_filter import JobFilter
    from jobqueue.domain.workflow.batch import AddedMember as AddedJob
    from jobqueue.domain.workflow.batch import BatchView, Member, NewBatch
    from jobqueue.domain.workflow.flow import Workflow
    from jobqueue.processors.callbacks.handlers import Handler
    from jobqueue.services.jobs.manage import Family
    from jobqueue.services.work.dispatcher import Dispatcher

Jobs = list[Job]
NumberedLines = list[tuple[int, LogLine]]
AddedMember = list["AddedJob"]


class JobQueue(HandlerRegistry, Management, Many, Erasing, Lists):
    """Adds jobs, runs handlers, and manages jobs and batches.

    The first call connects to ``JOBQUEUE_MONGO_URL`` or to the embedded MongoDB, which is started if need be. One queue
    belongs to one event loop at a time, and opens anew in the next one; ``async with`` or `close` end the connection.

    Args:
        settings: in place of those from the environment.
        overrides: single settings by name, such as ``mongo_url`` or ``db``.

    Raises:
        SettingsError: from the first call.
        DatabaseError: from any call.
    """

    _stand_in: ClassVar[JobQueue | None] = None

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        self._settings = settings
        self._overrides = overrides
        self._runtime: Runtime | None = None
        self._lock = asyncio.Lock()
        self._process = os.getpid()
        self._inherited: Runtime | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._other: JobQueue | None = None
        super().__init__(self)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @overload
    def lifespan(self, app: object, /) -> AbstractAsyncContextManager[None]: ...
    @overload
    def lifespan(self, /, *, work: bool) -> Callable[[object], AbstractAsyncContextManager[None]]: ...
    def lifespan(self, app: object = None, /, *, work: bool = False) -> object:
        """Keep this queue open as long as a web application runs, in the event loop of its server.

        For ``FastAPI(lifespan=queue.lifespan)``, Starlette, and ``app.cleanup_ctx.append(queue.lifespan)`` of aiohttp.

        Args:
            app: the application, which the framework gives; nothing is done with it.
            work: run the handlers in this process too, as in ``FastAPI(lifespan=queue.lifespan(work=True))``.
        """
        return functools.partial(self._during, work=work) if app is None else self._during(app, work=work)

    @contextlib.asynccontextmanager
    async def _during(self, _app: object, *, work: bool) -> AsyncIterator[None]:
        async with self, self.working() if work else contextlib.nullcontext():
            yield

    def settle_for(self, flags: Mapping[str, object]) -> Settings:
        """Return the settings of this queue, with the flags for settings that the constructor left open."""
        if self._settings is None:
            self._settings = Settings.load({**flags, **self._overrides})
        return self._settings

    async def open(self) -> Runtime:
        """Connect once, and return the services behind this queue; a forked process connects anew."""
        if (other := self._other or self._stand_in) is not None:
            return await other.open()
        self._leave_to_parent()
        self._enter_loop()
        if self._runtime is None:
            async with self._lock:
                if self._runtime is None:
                    self._runtime = await Runtime.open(self.settle_for({}))
        return self._runtime

    async def close(self) -> None:
        """Close the connection; a further call opens it again."""
        if self._other is None:
            self._leave_to_parent()
            runtime, self._runtime = self._runtime, None
            if runtime is not None:
                await runtime.close()

    def send_to(self, other: JobQueue | None) -> None:
        """Make all calls go to the database of another queue object; with ``None`` to its own again."""
        self._other = other

    @classmethod
    def send_all_to(cls, other: JobQueue | None) -> None:
        """Make all calls of all queue objects of this process go to another one; with ``None`` to their own again."""
        JobQueue._stand_in = other

    def _leave_to_parent(self) -> None:
        """In a forked process, leave alone the connection that belongs to the parent."""
        if self._process != os.getpid():
            # Kept, because the end of its objects would close sockets that both processes share.
            self._inherited, self._runtime = self._runtime, None
            self._process, self._lock = os.getpid(), asyncio.Lock()

    def _enter_loop(self) -> None:
        """Belong to the running event loop; what was opened in a loop that is closed cannot be used any more.

        Raises:
            RuntimeError: the queue is open in another event loop.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._runtime is not None and self._loop is not None and not self._loop.is_closed():
            raise RuntimeError(
                "this JobQueue is open in another event loop: close it there first, make a JobQueue for each loop, "
                "or use SyncJobQueue, which any thread may call"
            )
        if self._runtime is not None:
            self._runtime.abandon()
        self._runtime, self._loop, self._lock = None, loop, asyncio.Lock()

    async def add(
        self, kind: str, data: Mapping[str, Any] | None = None, *, session: Any = None, **fields: Unpack[JobOptions]
    ) -> Job:
        """Add a job and return it.

        Args:
            kind: its type, which selects the handler.
            data: its input.
            session: a Motor session of the caller's transaction; the job exists exactly if the transaction commits.
            fields: any other field of `NewJob`.

        Raises:
            InvalidInputError: naming each unacceptable field.
            KeyConflictError: an unfinished job of the queue has this key.
        """
        return await self.add_job(new_job(kind, data, **fields), session=session)

    async def add_job(self, new: NewJob, *, session: Any = None) -> Job:
        """Add a job that was made before, and return it; as `add`."""
        return await (await self.open()).producer.add(new, session=session)

    async def add_all(self, jobs: Sequence[NewJob]) -> Jobs:
        """Add up to 1,000 jobs, all or none.

        Raises:
            InvalidInputError: no jobs, or too many.
            KeyConflictError: an unfinished job has the key of one.
        """
        return await (await self.open()).producer.add_all(jobs)

    async def add_batch(self, batch: NewBatch) -> tuple[BatchView, AddedMember]:
        """Create a batch and its first jobs, all or nothing; return the batch, and the ids of its jobs in their order.

        Raises:
            InvalidInputError: naming each unacceptable job, double or unknown ref, and jobs that wait for each other.
            KeyConflictError: an unfinished job has the key of one.
        """
        return await (await self.open()).batches.create(batch)

    async def start(self, flow: Workflow) -> StartedBatch:
        """Create the batch of a workflow with all its jobs, all or none.

        Raises:
            InvalidInputError, KeyConflictError: as `add_batch`.
        """
        view, added = await self.add_batch(flow.batch())
        return StartedBatch(view, {job.ref: job.id for job in added if job.ref is not None}, self)

    async def add_to_batch(self, batch_id: str, members: Sequence[Member], *, token: str | None = None) -> AddedMember:
        """Add jobs to an open batch, all or none; with the token of a running job of the batch also to a sealed batch.

        Raises:
            ConflictError: the batch is sealed or has finished.
        """
        return await (await self.open()).batches.add(check_id(batch_id), members, token=token)

    async def batch(self, batch_id: str) -> BatchView:
        """Return a batch with the counts and the progress of its jobs."""
        return await (await self.open()).batches.get(check_id(batch_id))

    async def seal_batch(self, batch_id: str) -> BatchView:
        """Exclude further jobs: the batch finishes when all its jobs have ended."""
        return await (await self.open()).batches.seal(check_id(batch_id), by=PYTHON)

    async def requeue_batch(self, batch_id: str, *, callbacks: bool = False) -> BatchView:
        """Restart failed and killed jobs, and jobs that were killed because of them.

        Args:
            batch_id: the batch.
            callbacks: repeat the callbacks for success that came before.
        """
        return await (await self.open()).batches.requeue(check_id(batch_id), callbacks=callbacks, by=PYTHON)

    async def kill_batch(self, batch_id: str, reason: str = KILLED_BATCH) -> int:
        """Kill all unfinished jobs of a batch; return their number."""
        return await (await self.open()).batches.kill_all(check_id(batch_id), reason, by=PYTHON)

    async def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is no job of this id.
        """
        return await (await self.open()).jobs.whole(check_id(job_id))

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - the job goes on after it
        """Wait until a job has ended, and return it, however it ended.

        Args:
            job_id: of the job.
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            NotFoundError: there is no job of this id, or it was deleted.
            TimeoutError: the time is over; the job goes on.
        """
        job = await (await self.open()).waiting.ended(check_id(job_id), timeout)
        if job.state not in FINAL:
            raise TimeoutError(f"job {job_id} has not ended within {timeout:g} seconds; it is {job.state}")
        return job

    async def jobs(self, **conditions: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Yield all jobs that a filter finds, newest first by default, a page at a time; their steps lack the results.

        Raises:
            InvalidInputError: naming each unacceptable condition.
        """
        query, cursor, is_last = job_query(**conditions), None, False
        while not is_last:
            page = await self.list(query.at(cursor))
            for job in page.items:
                yield job
            cursor, is_last = page.next, page.next is None

    async def list(self, query: JobQuery | None = None) -> Page:
        """Return a page of jobs, newest first by default; their steps lack the results."""
        return await (await self.open()).listing.page(query or JobQuery())

    async def logs(self, job_id: str, *, after: int = 0, limit: int = 1000) -> NumberedLines:
        """Return log lines with their numbers, from number ``after`` on."""
        return await (await self.open()).logs.lines(check_id(job_id), after=after, limit=limit)

    async def family(self, job_id: str) -> Family:
        """Return the relatives of a job."""
        return await (await self.open()).manager.family(check_id(job_id))

    async def kill(self, job_id: str, reason: str = "killed by a person") -> Job:
        """End an unfinished job."""
        return await (await self.open()).manager.kill(check_id(job_id), reason, by=PYTHON)

    async def requeue(self, /, job_id: str, *, from_step: FromStep = UNFORGOTTEN, **changes: Any) -> Job:
        """Start an ended or delayed job anew, possibly with other ``data``, ``attempts``, ``backoff``, ``priority``.

        Finished steps are kept, unless the job has succeeded or gets other ``data``.

        Args:
            job_id: of the job.
            from_step: the name of the first step that runs again, with all that finished after it; ``None`` for all.
            changes: new values.

        Raises:
            InvalidInputError: a change is not acceptable, or the job has no such step.
        """
        return await (await self.open()).manager.requeue(check_id(job_id), changes, from_step=from_step, by=PYTHON)

    async def signal(self, job_id: str, name: str, value: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to an unfinished job; return False if the job had it already.

        Args:
            job_id: of the job.
            name: of the signal.
            value: JSON, at most 256 KiB.
            signal_id: the same id again sends nothing.

        Raises:
            WrongStateError: the job has ended.
            ConflictError: a hundred signals of the job wait already.
        """
        sent = await (await self.open()).signals.send(check_id(job_id), name, value, signal_id=signal_id, by=PYTHON)
        return not sent.existed

    async def patch(self, /, job_id: str, **changes: Any) -> Job:
        """Change fields of a job that is not processing."""
        return await (await self.open()).manager.patch(check_id(job_id), changes, by=PYTHON)

    async def delete(self, job_id: str) -> None:
        """Delete a job that is not processing, with its logs."""
        await (await self.open()).manager.delete(check_id(job_id), by=PYTHON)

    @contextlib.asynccontextmanager
    async def working(self, *, concurrency: int | None = None) -> AsyncIterator[Dispatcher]:
        """Run the handlers in this process during the block; its end finishes running jobs or gives them back.

        The schedules of `cron` are stored, too.

        Args:
            concurrency: jobs at a time.
        """
        runtime = await self.open()
        await runtime.start()
        dispatcher = runtime.dispatcher(self.lanes(runtime), concurrency=concurrency)
        self.declare(runtime)
        task = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            await dispatcher.stop(runtime.settings.drain_timeout)
            await task

    def declare(self, runtime: Runtime) -> None:
        """Store the schedules of the code from now on, while a worker runs."""
        runtime.declared.hold(self.declarations, is_dropped)

    def lanes(self, runtime: Runtime) -> Callable[[], Sequence[Lane]]:
        """Return a function that returns the lanes of the present handlers."""
        processor = CallbackProcessor(self.handlers, runtime.relatives)

        def present() -> Sequence[Lane]:
            shared: dict[str, list[Handler]] = {}
            lanes = []
            for handler in {id(handler): handler for handler in self.handlers.values()}.values():
                if handler.concurrency is None:
                    shared.setdefault(handler.queue, []).append(handler)
                else:
                    lanes.append(_lane([handler], processor, handler.concurrency))
            return lanes + [_lane(handlers, processor) for handlers in shared.values()]

        return present


def _lane(handlers: Sequence[Handler], processor: CallbackProcessor, limit: int | None = None) -> Lane:
    def schemas() -> dict[str, str]:
        known = ((handler, handler.describe()) for handler in handlers)
        return {kind: schema for handler, schema in known if schema is not None for kind in handler.types}

    return Lane(
        queue=handlers[0].queue,
        types=tuple(sorted(kind for handler in handlers for kind in handler.types)),
        processor=lambda _job: processor,
        limit=limit,
        stop_seconds=processor.stop_seconds,
        together=limit is None,
        schemas=schemas,
    )
