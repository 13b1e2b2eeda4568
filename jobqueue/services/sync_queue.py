"""`SyncJobQueue`: the calls of `JobQueue` for programs without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from jobqueue.blocking import Blocking, BlockingCalls, Iterating
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.options import new_job
from jobqueue.services.queue import JobQueue
from jobqueue.tasks.blocking_batch import BlockingBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.schedules.schedule import Missed
    from jobqueue.domain.workflow.flow import Workflow
    from jobqueue.settings import Settings
    from jobqueue.tasks.decorator import TaskDecorator

    F = TypeVar("F", bound="Callable[..., Any]")
    T = TypeVar("T")

R = TypeVar("R")


class SyncJobQueue(BlockingCalls[JobQueue]):
    """Adds and manages jobs on the database in plain Python; calls, arguments and errors are those of `JobQueue`.

    One queue serves any number of threads, and forked processes: its coroutines run on one event loop in a thread of
    its own, which begins with the first call. ``jobqueue worker module:queue`` runs the handlers and tasks of it, too.

    Args:
        settings: in place of those from the environment.
        overrides: single settings by name, such as ``mongo_url`` or ``db``.
    """

    def __init__(self, settings: Settings | None = None, **overrides: Any) -> None:
        queue = JobQueue(settings, **overrides)
        super().__init__(queue, queue.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def handler(self, kind: str, *, queue: str | None = None, concurrency: int | None = None) -> Callable[[F], F]:
        """Decorate the function that runs jobs of a type; as `JobQueue.handler`."""
        return self.calls.handler(kind, queue=queue, concurrency=concurrency)

    def task(
        self,
        name: str | None = None,
        *,
        concurrency: int | None = None,
        aliases: Sequence[str] = (),
        upgrade: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        **defaults: Unpack[JobOptions],
    ) -> TaskDecorator:
        """Decorate a function with types; as `JobQueue.task`. ``task.using(queue)`` adds its jobs from plain code."""
        return self.calls.task(name, concurrency=concurrency, aliases=aliases, upgrade=upgrade, **defaults)

    def cron(
        self,
        cron: str | None = None,
        *,
        every: float | None = None,
        timezone: str | None = None,
        name: str | None = None,
        missed: Missed = "one",
        data: Mapping[str, Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> Callable[[T], T]:
        """Decorate a task or a handler to declare a schedule of its jobs; as `JobQueue.cron`."""
        return self.calls.cron(cron, every=every, timezone=timezone, name=name, missed=missed, data=data, **options)

    def add(
        self, kind: str, data: Mapping[str, Any] | None = None, *, session: Any = None, **fields: Unpack[JobOptions]
    ) -> Job:
        """Add a job and return it.

        Args:
            kind: its type.
            data: its input.
            session: a session of PyMongo (``pymongo.client_session.ClientSession``) with the caller's transaction; the
                job exists exactly if the transaction commits.
            fields: any other field of `NewJob`.

        Raises:
            InvalidInputError: naming each unacceptable field.
            KeyConflictError: an unfinished job of the queue has this key.
        """
        return self.add_job(new_job(kind, data, **fields), session=session)

    def add_job(self, new: NewJob, *, session: Any = None) -> Job:
        """Add a job that was made before, and return it; as `add`.

        Raises:
            InvalidInputError: also for a session together with ``depends_on``, whose jobs would have to be changed too.
        """
        if session is None:
            return self.run(self.calls.add_job(new))
        if new.depends_on:
            raise InvalidInputError({"session": ["cannot be given together with depends_on"]})
        from jobqueue.store.jobs.callers_client import insert_by  # noqa: PLC0415 - most programs have no session

        document, database = self.run(self._prepared(new))
        return insert_by(session, database, document)

    def start(self, flow: Workflow) -> BlockingBatch:
        """Create the batch of a workflow with all its jobs, all or none; as `JobQueue.start`."""
        return BlockingBatch(self.run(self.calls.start(flow)), self)

    async def _prepared(self, new: NewJob) -> tuple[dict[str, Any], str]:
        """Return the document of a new job, and the name of the database."""
        runtime = await self.calls.open()
        return await runtime.producer.prepared(new), runtime.settings.db

    add_all = Blocking(JobQueue.add_all)
    add_batch = Blocking(JobQueue.add_batch)
    add_to_batch = Blocking(JobQueue.add_to_batch)
    batch = Blocking(JobQueue.batch)
    seal_batch = Blocking(JobQueue.seal_batch)
    requeue_batch = Blocking(JobQueue.requeue_batch)
    kill_batch = Blocking(JobQueue.kill_batch)
    get = Blocking(JobQueue.get)
    wait = Blocking(JobQueue.wait)
    jobs = Iterating(JobQueue.jobs)
    list = Blocking(JobQueue.list)
    logs = Blocking(JobQueue.logs)
    family = Blocking(JobQueue.family)
    kill = Blocking(JobQueue.kill)
    requeue = Blocking(JobQueue.requeue)
    signal = Blocking(JobQueue.signal)
    patch = Blocking(JobQueue.patch)
    delete = Blocking(JobQueue.delete)
    pause = Blocking(JobQueue.pause)

    search = Iterating(JobQueue.search)
    count = Blocking(JobQueue.count)
    aggregate = Blocking(JobQueue.aggregate)
    why = Blocking(JobQueue.why)
    requeue_many = Blocking(JobQueue.requeue_many)
    kill_many = Blocking(JobQueue.kill_many)
    delete_many = Blocking(JobQueue.delete_many)
    erase = Blocking(JobQueue.erase)
    preview_erasure = Blocking(JobQueue.preview_erasure)
    operation = Blocking(JobQueue.operation)
    stop_operation = Blocking(JobQueue.stop_operation)
    resume_operation = Blocking(JobQueue.resume_operation)
    wait_operation = Blocking(JobQueue.wait_operation)
    failures = Iterating(JobQueue.failures)
    failure = Blocking(JobQueue.failure)
    compare_failures = Blocking(JobQueue.compare_failures)
    configure = Blocking(JobQueue.configure)
    config = Blocking(JobQueue.config)
    queue_why = Blocking(JobQueue.queue_why)
    put_schedule = Blocking(JobQueue.put_schedule)
    schedule = Blocking(JobQueue.schedule)
    delete_schedule = Blocking(JobQueue.delete_schedule)
    run_schedule = Blocking(JobQueue.run_schedule)
    pause_schedule = Blocking(JobQueue.pause_schedule)
    preview_schedule = Blocking(JobQueue.preview_schedule)
    stats = Blocking(JobQueue.stats)
    series = Blocking(JobQueue.series)
    events = Iterating(JobQueue.events)
    schedules = Iterating(JobQueue.schedules)
    batches = Iterating(JobQueue.batches)
    wait_batch = Blocking(JobQueue.wait_batch)
    signal_by_key = Blocking(JobQueue.signal_by_key)
    decide = Blocking(JobQueue.decide)
    delete_queue = Blocking(JobQueue.delete_queue)
    workers = Blocking(JobQueue.workers)
    drain_worker = Blocking(JobQueue.drain_worker)
    types = Blocking(JobQueue.types)
