"""`QueueForTests`: the queue that the fixture `jobqueue_test` gives."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from jobqueue.domain.values import iso8601
from jobqueue.services.application import Runtime
from jobqueue.services.queue import JobQueue
from jobqueue.services.sync_queue import SyncJobQueue
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import Database
from jobqueue.store.mongo.moved_clock import Lead, MovedClock
from jobqueue.testing.added import expected
from jobqueue.testing.crash import Crash
from jobqueue.testing.drain import Drain

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.schedules.declaration import Declaration
    from jobqueue.processors.callbacks.handlers import Handler
    from jobqueue.settings import Settings

T = TypeVar("T")
_PATIENCE = 60.0
"""Seconds that a call waits for all that follows from the end of a job: all of it, in a test."""


class HasId(Protocol):
    """A job, or the reference to a job."""

    @property
    def id(self) -> str:
        """The id of the job."""


class HasName(Protocol):
    """A task."""

    @property
    def name(self) -> str:
        """The type of its jobs."""


class _TestConnection(JobQueue):
    """A queue on the database of a test, in one event loop."""

    def __init__(self, settings: Settings, lead: Lead) -> None:
        super().__init__(settings)
        self._lead = lead

    async def open(self) -> Runtime:
        """Connect once in an event loop, and return the services of the test."""
        self._enter_loop()
        async with self._lock:
            if self._runtime is None:
                self._runtime = await self._connect()
        return self._runtime

    async def _connect(self) -> Runtime:
        settings = self.settle_for({})
        # The indexes are there: the database was prepared before.
        database = await Database.connect(str(settings.mongo_url), settings.db, clock=MovedClock)
        runtime = Runtime(settings, database, None)
        runtime.outboxes.patience = _PATIENCE
        cast("MovedClock", database.clock).lead = self._lead
        await database.clock.now()
        return runtime

    @property
    def is_open(self) -> bool:
        """True if there is a connection to close."""
        return self._runtime is not None

    def finish(self) -> None:
        """Close what is open, from outside of the event loop."""
        runtime, self._runtime = self._runtime, None
        if runtime is None:
            return
        if self._loop is not None and not self._loop.is_closed() and not self._loop.is_running():
            self._loop.run_until_complete(runtime.close())
        else:
            runtime.abandon()


class QueueForTests(_TestConnection):
    """A queue on a database of its own, whose jobs run when `drain` is called, and whose clock moves over all waits.

    Args:
        settings: of the database.
        stored: returns the documents of all jobs; blocks.
    """

    def __init__(self, settings: Settings, stored: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        super().__init__(settings, Lead())
        self._stored = stored
        self._used: list[JobQueue] = []
        self._threads: list[tuple[SyncJobQueue, _TestConnection]] = []

    def use(self, *queues: JobQueue | SyncJobQueue) -> None:
        """Make queue objects of the application add to this database until the end of the test.

        `drain` runs their handlers and tasks. A handler of this queue stands in for theirs of the same queue and type.
        """
        for queue in queues:
            if isinstance(queue, SyncJobQueue):
                connection = _TestConnection(self.settle_for({}), self._lead)
                self._threads.append((queue, connection))
                queue.calls.send_to(connection)
                self._used.append(queue.calls)
            else:
                queue.send_to(self)
                self._used.append(queue)

    async def drain(
        self, until: datetime | timedelta | str | None = None, *, raises: bool = True, due_only: bool = False
    ) -> list[Job]:
        """Run jobs until time alone would start nothing more; return the jobs that have ended, in their order.

        Children, backoffs, delays, sleeps, timeouts of signals, ended leases and limits are included: the clock moves
        over them at once.

        Args:
            until: a date, an ISO text or a time from now: schedules make jobs too, and the clock stops there.
            raises: stop at the first job that ends failed or killed.
            due_only: run only what is due now, and leave the clock alone.

        Raises:
            UnexpectedEndError: a job failed or was killed.
            EndlessDrainError: jobs start again and again.
        """
        runtime = await self.open()
        end = None if until is None else _moment(until, await runtime.database.clock.now())
        return await self._drain(runtime, until=end, raises=raises, moves=not due_only)

    async def now(self) -> datetime:
        """Return the time of this queue."""
        return await (await self.open()).database.clock.now()

    async def signal(self, job_id: str | HasId, name: str, value: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to a job, given by itself, its reference or its id; as `JobQueue.signal`."""
        return await super().signal(_id(job_id), name, value, signal_id=signal_id)

    async def crash_after_step(self, job: str | HasId, step: str) -> None:
        """Run jobs until a step of one has been kept, and let the worker die then, as by ``kill -9``.

        Nothing of the run is recorded any more. The next `drain` takes the job back when its lease has ended, as a
        failed attempt, and runs it again.

        Args:
            job: itself, its reference or its id.
            step: the name of the step.

        Raises:
            AssertionError: the job does not come to this step, or has finished it before.
        """
        runtime, crash = await self.open(), Crash(_id(job), step)
        if step in _finished(before := await self.get(crash.job_id)):
            raise AssertionError(f"job {before.id} has finished the step {step!r} already")
        await self._drain(runtime, raises=False, crash=crash)
        if not crash.happened.is_set():
            after = await self.get(crash.job_id)
            ended = f"; it ended with {after.error.kind}: {after.error.message}" if after.error else ""
            raise AssertionError(
                f"job {after.id} is {after.state.value} and has not finished the step {step!r}, "
                f"but {', '.join(map(repr, _finished(after))) or 'none'}{ended}"
            )

    def added(
        self,
        type_or_task: str | HasName,
        data: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **arguments: Any,
    ) -> list[Job]:
        """Return the jobs of a type, oldest first, by values that their data and meta have; this call blocks."""
        wanted = expected(type_or_task, {**(data or {}), **arguments}, meta, queue)
        return wanted.among(self._all())

    def assert_added(
        self,
        type_or_task: str | HasName,
        data: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        queue: str | None = None,
        count: int | None = None,
        **arguments: Any,
    ) -> Job:
        """Make sure that a job was added, in whatever state it is, and return the latest one; this call blocks.

        Args:
            type_or_task: the type of the job, or its task.
            data: values that its data has, by name.
            meta: values that its meta has, by name.
            queue: its queue; ``None`` for any.
            count: how many such jobs there are; ``None`` for one or more.
            arguments: as ``data``.

        Raises:
            AssertionError: there is none, or another number; the message has what was added.
        """
        wanted, jobs = expected(type_or_task, {**(data or {}), **arguments}, meta, queue), self._all()
        found = wanted.among(jobs)
        if not found or count not in {None, len(found)}:
            other = "" if count is None else f", not {count},"
            were = "were" if len(found) > 1 else "was"
            raise AssertionError(f"{wanted.counted(found)}{other} {were} added\n{wanted.told(jobs)}")
        return found[-1]

    def assert_not_added(
        self,
        type_or_task: str | HasName,
        data: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        queue: str | None = None,
        **arguments: Any,
    ) -> None:
        """Make sure that no such job was added; as `assert_added`.

        Raises:
            AssertionError: there is one.
        """
        wanted = expected(type_or_task, {**(data or {}), **arguments}, meta, queue)
        if found := wanted.among(self._all()):
            ids = ", ".join(job.id for job in found[:10])
            were = "were" if len(found) > 1 else "was"
            raise AssertionError(f"{wanted.counted(found)} {were} added: {ids}")

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine from a test that is a plain function, in an event loop of its own, and return its result."""

        async def run() -> T:
            try:
                return await call
            finally:
                await self.close()

        return asyncio.run(run())

    def finish(self) -> None:
        """End the test: give the used queues their databases back, and close what is open."""
        for queue in self._used:
            queue.send_to(None)
        for thread, connection in self._threads:
            if connection.is_open:
                thread.run(connection.close())
        self._used, self._threads = [], []
        super().finish()

    async def _drain(self, runtime: Runtime, **how: Any) -> list[Job]:
        handlers: dict[tuple[str, str], Handler] = {}
        declarations: dict[str, Declaration] = {}
        for queue in (*self._used, self):
            handlers |= queue.handlers
            declarations |= queue.declarations
        if how.get("until") is not None:
            await runtime.declared.declare(list(declarations.values()))
        return await Drain(runtime, cast("MovedClock", runtime.database.clock), handlers, **how).run()

    def _all(self) -> list[Job]:
        return [documents.job(document) for document in self._stored()]


def _id(job: str | HasId) -> str:
    return job if isinstance(job, str) else job.id


def _finished(job: Job) -> list[str]:
    return [step.name for step in job.steps or () if step.is_finished]


def _moment(until: datetime | timedelta | str, now: datetime) -> datetime:
    if isinstance(until, timedelta):
        return now + until
    return iso8601.moment(until) if isinstance(until, str) else iso8601.aware(until, "until")
