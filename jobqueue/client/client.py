"""`Client`: the calls of `AsyncClient` for programs without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from jobqueue.blocking import Blocking, BlockingCalls, Iterating
from jobqueue.client.async_client import AsyncClient
from jobqueue.client.transport import DEFAULT_SECONDS
from jobqueue.client.work.worker import POLL_SECONDS
from jobqueue.tasks.blocking_batch import BlockingBatch

if TYPE_CHECKING:
    from types import TracebackType

    from jobqueue.client.work.worker import Worker
    from jobqueue.domain.workflow.flow import Workflow
    from jobqueue.tasks.registry import HandlerRegistry


class Client(BlockingCalls[AsyncClient]):
    """Adds and manages jobs over HTTP in plain Python; calls, arguments and errors are those of `AsyncClient`.

    One client serves any number of threads, and forked processes: its coroutines run on one event loop in a thread of
    its own, which begins with the first call.

    Args:
        url: of the server; that of ``JOBQUEUE_URL`` by default.
        token: of the API; that of ``JOBQUEUE_API_TOKEN`` by default, if there is one.
        timeout: seconds for one call with all its tries; ``None`` for no bound.

    Raises:
        InvalidInputError: there is no URL, or one of the values cannot be used.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float | None = DEFAULT_SECONDS
    ) -> None:
        self._token, self._timeout = token, timeout
        calls = AsyncClient(url, token, timeout=timeout)
        super().__init__(calls, calls.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    @property
    def url(self) -> str:
        """The address of the server."""
        return self.calls.url

    def start(self, flow: Workflow) -> BlockingBatch:
        """Create the batch of a workflow with all its jobs, all or none; as `AsyncClient.start`."""
        return BlockingBatch(self.run(self.calls.start(flow)), self)

    def worker(
        self,
        queue: str,
        *,
        handlers: HandlerRegistry | None = None,
        concurrency: int = 10,
        lease: float | None = None,
        drain: float = 30.0,
        poll: float = POLL_SECONDS,
        name: str | None = None,
    ) -> Worker:
        """Return a worker, whose ``run`` runs jobs until SIGTERM; as `AsyncClient.worker`."""
        # Its event loop is another one than that of the calls.
        own = AsyncClient(self.url, self._token, timeout=self._timeout)
        return own.worker(
            queue, handlers=handlers, concurrency=concurrency, lease=lease, drain=drain, poll=poll, name=name
        )

    add = Blocking(AsyncClient.add)
    add_job = Blocking(AsyncClient.add_job)
    add_all = Blocking(AsyncClient.add_all)
    get = Blocking(AsyncClient.get)
    jobs = Iterating(AsyncClient.jobs)
    search = Iterating(AsyncClient.search)
    rows = Iterating(AsyncClient.rows)
    count = Blocking(AsyncClient.count)
    aggregate = Blocking(AsyncClient.aggregate)
    logs = Iterating(AsyncClient.logs)
    family = Blocking(AsyncClient.family)
    why = Blocking(AsyncClient.why)
    bundle = Blocking(AsyncClient.bundle)
    kill = Blocking(AsyncClient.kill)
    requeue = Blocking(AsyncClient.requeue)
    patch = Blocking(AsyncClient.patch)
    delete = Blocking(AsyncClient.delete)
    signal = Blocking(AsyncClient.signal)
    signal_by_key = Blocking(AsyncClient.signal_by_key)
    steps = Blocking(AsyncClient.steps)
    step_result = Blocking(AsyncClient.step_result)
    decide = Blocking(AsyncClient.decide)
    wait = Blocking(AsyncClient.wait)
    result = Blocking(AsyncClient.result)

    add_batch = Blocking(AsyncClient.add_batch)
    add_to_batch = Blocking(AsyncClient.add_to_batch)
    batch = Blocking(AsyncClient.batch)
    batches = Iterating(AsyncClient.batches)
    graph = Blocking(AsyncClient.graph)
    seal_batch = Blocking(AsyncClient.seal_batch)
    requeue_batch = Blocking(AsyncClient.requeue_batch)
    kill_batch = Blocking(AsyncClient.kill_batch)
    wait_batch = Blocking(AsyncClient.wait_batch)

    requeue_many = Blocking(AsyncClient.requeue_many)
    kill_many = Blocking(AsyncClient.kill_many)
    delete_many = Blocking(AsyncClient.delete_many)
    preview_many = Blocking(AsyncClient.preview_many)
    erase = Blocking(AsyncClient.erase)
    preview_erasure = Blocking(AsyncClient.preview_erasure)
    operations = Iterating(AsyncClient.operations)
    operation = Blocking(AsyncClient.operation)
    stop_operation = Blocking(AsyncClient.stop_operation)
    resume_operation = Blocking(AsyncClient.resume_operation)
    wait_operation = Blocking(AsyncClient.wait_operation)
    failures = Iterating(AsyncClient.failures)
    failure = Blocking(AsyncClient.failure)
    compare_failures = Blocking(AsyncClient.compare_failures)
    requeue_failures = Blocking(AsyncClient.requeue_failures)
    try_failure = Blocking(AsyncClient.try_failure)

    queues = Iterating(AsyncClient.queues)
    queue = Blocking(AsyncClient.queue)
    configure = Blocking(AsyncClient.configure)
    replace_queue = Blocking(AsyncClient.replace_queue)
    delete_queue = Blocking(AsyncClient.delete_queue)
    pause = Blocking(AsyncClient.pause)
    queue_why = Blocking(AsyncClient.queue_why)
    queue_groups = Blocking(AsyncClient.queue_groups)
    rotate_secret = Blocking(AsyncClient.rotate_secret)
    test_webhook = Blocking(AsyncClient.test_webhook)
    changes = Iterating(AsyncClient.changes)
    schedules = Iterating(AsyncClient.schedules)
    schedule = Blocking(AsyncClient.schedule)
    put_schedule = Blocking(AsyncClient.put_schedule)
    delete_schedule = Blocking(AsyncClient.delete_schedule)
    run_schedule = Blocking(AsyncClient.run_schedule)
    pause_schedule = Blocking(AsyncClient.pause_schedule)
    preview_schedule = Blocking(AsyncClient.preview_schedule)
    alerts = Iterating(AsyncClient.alerts)
    alert = Blocking(AsyncClient.alert)
    put_alert = Blocking(AsyncClient.put_alert)
    delete_alert = Blocking(AsyncClient.delete_alert)
    mute_alert = Blocking(AsyncClient.mute_alert)
    test_alert = Blocking(AsyncClient.test_alert)

    stats = Blocking(AsyncClient.stats)
    series = Blocking(AsyncClient.series)
    status = Blocking(AsyncClient.status)
    events = Iterating(AsyncClient.events)
    suggestions = Blocking(AsyncClient.suggestions)
    audit = Iterating(AsyncClient.audit)

    tokens = Iterating(AsyncClient.tokens)
    create_token = Blocking(AsyncClient.create_token)
    revoke_token = Blocking(AsyncClient.revoke_token)
    workers = Iterating(AsyncClient.workers)
    drain_worker = Blocking(AsyncClient.drain_worker)
    types = Iterating(AsyncClient.types)
