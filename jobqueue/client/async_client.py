"""`AsyncClient`: the calls of `JobQueue` over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.client.api_calls import ApiCalls
from jobqueue.client.transport import DEFAULT_SECONDS, Transport
from jobqueue.client.work.worker import POLL_SECONDS, Worker
from jobqueue.tasks.started import StartedBatch

if TYPE_CHECKING:
    from jobqueue.domain.workflow.flow import Workflow
    from jobqueue.tasks.registry import HandlerRegistry


class AsyncClient(ApiCalls):
    """Adds and manages jobs over HTTP; it needs no access to the database.

    Connections are made by the first call. ``async with`` or `close` end them. Calls are repeated after lost
    connections and after replies that may pass, as long as a repetition has no second effect.

    Args:
        url: of the server, such as ``https://jobs.example.com``; that of ``JOBQUEUE_URL`` by default.
        token: of the API; that of ``JOBQUEUE_API_TOKEN`` by default, if there is one.
        timeout: seconds for one call with all its tries; ``None`` for no bound.

    Raises:
        InvalidInputError: there is no URL, or one of the values cannot be used.
        ServerUnreachableError: from any call: there was no answer in time.
        UnauthorizedError, ForbiddenError: from any call: the token is missing, wrong, or not enough for the call.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float | None = DEFAULT_SECONDS
    ) -> None:
        super().__init__(Transport(url, token, timeout))

    async def start(self, flow: Workflow) -> StartedBatch:
        """Create the batch of a workflow with all its jobs, all or none.

        Raises:
            InvalidInputError, KeyConflictError: as `add_batch`.
        """
        view, added = await self.add_batch(flow.batch())
        return StartedBatch(view, {job.ref: job.id for job in added if job.ref is not None}, self)

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
        """Return a worker that runs jobs of a queue by functions of this program, over HTTP.

        Args:
            queue: the queue.
            handlers: registered functions, such as a `JobQueue` whose handlers of this queue run here; the worker takes
                more by its own ``handler`` and ``task``.
            concurrency: jobs at a time.
            lease: seconds for which a job is held without a heartbeat, in place of its own.
            drain: seconds for which running jobs may go on when the worker stops; then they go back, uncounted.
            poll: seconds for which one request waits for a job, at most 60; a worker that stops waits for its end.
            name: of the worker; made of the host and the process by default.

        Raises:
            InvalidInputError: a value cannot be used.
        """
        return Worker(
            self, queue, handlers=handlers, concurrency=concurrency, lease=lease, drain=drain, poll=poll, name=name
        )
