"""Run a job by a Python function: an async one on the event loop, a plain one in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, Unpack

from jobqueue.domain.errors import JobCancelledError
from jobqueue.domain.jobs.job import DEFAULT_QUEUE, NewJob
from jobqueue.domain.work.results import Results
from jobqueue.domain.work.verdict import Success
from jobqueue.processors.callbacks.batch_calls import AsyncBatchCalls, BlockingBatchCalls
from jobqueue.processors.callbacks.calling import in_loop, in_thread
from jobqueue.processors.callbacks.child_calls import AsyncCalls, BlockingCalls, ResultsOf
from jobqueue.processors.callbacks.step_calls import AsyncSteps, BlockingSteps
from jobqueue.processors.callbacks.stepping import Stepper
from jobqueue.processors.callbacks.trial_job import Past, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Relatives, Reporter, Verdict
    from jobqueue.processors.callbacks.handlers import Handler

_STOP_SECONDS: Final = 5.0
T = TypeVar("T")


class FakeJob(TypedDict, total=False):
    """The past and the fields of a job that exists only in memory."""

    steps: Mapping[str, Any]
    results: Mapping[str, Any]
    signals: Mapping[str, Any]
    attempt: int
    type: str
    queue: str
    meta: Mapping[str, Any]


class _Running:
    """The view that a handler has of its job."""

    def __init__(self, job: Job, reporter: Reporter, relatives: Relatives) -> None:
        self.job = job
        self._worker = os.getpid()
        self._reports = reporter
        self._family = relatives
        self._stepper = Stepper(job, reporter)

    @property
    def _reporter(self) -> Reporter:
        self._stay_in_worker()
        return self._reports

    @property
    def _relatives(self) -> Relatives:
        self._stay_in_worker()
        return self._family

    def _stay_in_worker(self) -> None:
        """Refuse calls from a forked child, which shares connections and locks with the worker, but no threads.

        Raises:
            RuntimeError: this process is a fork of the worker.
        """
        if os.getpid() != self._worker:
            raise RuntimeError(f"job {self.job.id} can only be used in its worker (pid {self._worker}), not in a fork")

    @property
    def id(self) -> str:
        """The job's id, 24 hex digits."""
        return self.job.id

    @property
    def type(self) -> str:
        """The job's type."""
        return self.job.type

    @property
    def queue(self) -> str:
        """The job's queue."""
        return self.job.queue

    @property
    def data(self) -> Mapping[str, Any]:
        """The job's input."""
        return self.job.data

    @property
    def meta(self) -> Mapping[str, Any]:
        """The job's attributes for searches and limits."""
        return self.job.meta

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.job.attempts_made

    @property
    def parent_id(self) -> str | None:
        """The id of the job that created this one as a child."""
        return self.job.parent_id

    @property
    def parents(self) -> Sequence[Mapping[str, Any]]:
        """The dependencies of the job, in their order: ``{id, type, state, ref?, result}`` each.

        Beyond 8 MiB of results together some have ``omitted`` in place of ``result``; a deleted job has ``deleted``.
        """
        return self.job.parents or ()

    @property
    def results(self) -> Mapping[str, Any]:
        """The results of the dependencies, by ref, or by id without a ref.

        Beyond 8 MiB together some results do not come with the claim. In an async handler reading such a result raises
        `ResultUnavailableError`, and `ActiveJob.results_of` loads it; a plain handler loads it on reading.
        """
        return Results(self.parents)

    @property
    def callback_of(self) -> Mapping[str, Any] | None:
        """For the callback of a batch: ``{batchId, event, generation, counts}``."""
        return self.job.callback_of

    @property
    def batch_id(self) -> str | None:
        """The id of the job's batch."""
        return self.job.batch_id


class ActiveJob(_Running, AsyncSteps, AsyncCalls, AsyncBatchCalls):
    """The job of an async handler."""

    @classmethod
    def fake(cls, data: Mapping[str, Any] | None = None, **past: Unpack[FakeJob]) -> ActiveJob:
        """Return a job that exists only in memory, for unit tests of a handler without a server.

        Logs and progress are dropped, steps are kept, and each sleep is over at once.

        Args:
            data: its input.
            past: the results of its finished ``steps``, of its dependencies (``results``) and ``signals``, by name;
                its ``attempt``, ``type``, ``queue`` and ``meta``.

        Raises:
            RuntimeError: no event loop runs.
        """
        return cls(*_fake(data, past))

    async def log(self, line: str, level: str | None = None) -> None:
        """Add a line to the job's log; it is stored when this returns.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
        """
        await self._reporter.log(str(line), level)

    async def progress(self, percent: float) -> None:
        """Set the progress, 0 to 100.

        Raises:
            JobCancelledError: as `log`.
        """
        await self._reporter.progress(percent)

    async def parent(self) -> Job | None:
        """Return the job that created this one as a child, with its data and result, or ``None``."""
        return await self._relatives.parent()

    def results_of(self, *names: str) -> ResultsOf:
        """Return large results: awaited, those of dependencies; iterated, those of the children of one step.

        ``await job.results_of("ref")`` returns a dict, as `results`, with the results that did not come with the claim.
        ``async for result in job.results_of("step")`` yields the results of the children of a finished ``job.map``.

        Args:
            names: refs, or ids of jobs without a ref, none for all; or the name of the step.

        Raises:
            KeyError: the job has no dependency of such a name.
            ResultUnavailableError: a job was deleted.
        """
        return ResultsOf(lambda: self._loaded(names), lambda: self._results_of_children(*names))

    async def _loaded(self, names: Sequence[str]) -> dict[str, Any]:
        known = Results(self.parents)
        results = {}
        for name in names or known:
            entry = known.entry(name)
            results[name] = await self._relatives.result(entry["id"]) if entry.get("omitted") else known[name]
        return results

    async def children(self) -> list[Job]:
        """Return the children that earlier runs of this job have created, with their results, oldest first.

        Beyond 8 MiB of results together, reading a ``result`` may raise `ResultUnavailableError`; `child_result` loads
        it.
        """
        return await self._relatives.children()

    async def child_result(self, child_id: str) -> Any:
        """Return the result of a child, however large.

        Raises:
            ResultUnavailableError: the job has no such child, or the child was deleted.
        """
        return await self._relatives.child_result(child_id)


class BlockingJob(_Running, BlockingSteps, BlockingCalls, BlockingBatchCalls):
    """The job of a plain handler: the same calls, without ``await``."""

    @classmethod
    def fake(cls, data: Mapping[str, Any] | None = None, **past: Unpack[FakeJob]) -> BlockingJob:
        """Return a job that exists only in memory, for unit tests of a plain handler; as `ActiveJob.fake`."""
        return _FakeBlockingJob.made(*_fake(data, past))

    def __init__(self, job: Job, reporter: Reporter, relatives: Relatives, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(job, reporter, relatives)
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._cancelled = threading.Event()
        self._call_under_way: concurrent.futures.Future[Any] | None = None

    @property
    def cancelled(self) -> bool:
        """True if the job was killed or its lease was lost, so that the work of the handler is in vain."""
        return self._cancelled.is_set()

    def log(self, line: str, level: str | None = None) -> None:
        """Add a line to the job's log; as `ActiveJob.log`."""
        return self._call(self._reporter.log(str(line), level))

    def progress(self, percent: float) -> None:
        """Set the progress, 0 to 100; as `ActiveJob.progress`."""
        return self._call(self._reporter.progress(percent))

    def parent(self) -> Job | None:
        """Return the parent; as `ActiveJob.parent`."""
        return self._call(self._relatives.parent())

    @property
    def results(self) -> Mapping[str, Any]:
        """The results of the dependencies; results that did not come with the claim are loaded on reading."""
        return Results(self.parents, load=lambda job_id: self._call(self._relatives.result(job_id)))

    def results_of(self, *names: str) -> dict[str, Any]:
        """Return results by name; as `ActiveJob.results_of`."""
        results = self.results
        return {name: results[name] for name in names or results}

    def children(self) -> list[Job]:
        """Return the children; as `ActiveJob.children`, but each result is loaded on reading."""
        return self._call(self._relatives.children(self.child_result))

    def child_result(self, child_id: str) -> Any:
        """Return the result of a child, however large; as `ActiveJob.child_result`."""
        return self._call(self._relatives.child_result(child_id))

    def cancel(self) -> None:
        """Make the present call of the handler raise, or else its next call."""
        self._cancelled.set()
        if self._call_under_way is not None:
            self._call_under_way.cancel()

    def _call_in_any_case(self, call: Coroutine[Any, Any, T]) -> T:
        """Make a call also for a handler that is cancelled."""
        if threading.get_ident() == self._loop_thread:
            return call  # type: ignore[return-value]  # as in `_call`
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def _call(self, call: Coroutine[Any, Any, T]) -> T:
        if self._cancelled.is_set():
            call.close()
            raise JobCancelledError
        if threading.get_ident() == self._loop_thread:
            # A plain wrapper of an async function gets this job: the function awaits its calls on the event loop.
            return call  # type: ignore[return-value]
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        self._call_under_way = future
        if self._cancelled.is_set():
            # `cancel` came before it could see this call.
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise JobCancelledError from None


class _FakeBlockingJob(BlockingJob):
    """Makes each call in an event loop of its own, in a thread, as the caller may have a loop or none."""

    @classmethod
    def made(cls, job: Job, reporter: Reporter, relatives: Relatives) -> BlockingJob:
        async def make() -> BlockingJob:
            return cls(job, reporter, relatives, asyncio.get_running_loop())

        return _in_own_loop(make())

    def _call(self, call: Coroutine[Any, Any, T]) -> T:
        return _in_own_loop(call)

    def _call_in_any_case(self, call: Coroutine[Any, Any, T]) -> T:
        return _in_own_loop(call)


def _in_own_loop(call: Coroutine[Any, Any, T]) -> T:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, call).result()


def _fake(data: Mapping[str, Any] | None, past: FakeJob) -> tuple[Job, Reporter, Relatives]:
    new = NewJob(
        type=past.get("type", "fake"),
        queue=past.get("queue", DEFAULT_QUEUE),
        data={} if data is None else data,
        meta=past.get("meta", {}),
    )
    known: Any = {name: value for name, value in past.items() if name in {"attempt", "steps", "results", "signals"}}
    return parts(new, Past(**known))


class CallbackProcessor:
    """Runs jobs by the handlers of this process.

    Args:
        handlers: by queue and type.
        relatives: finds the parent and the children of a job.
    """

    def __init__(self, handlers: Mapping[tuple[str, str], Handler], relatives: Callable[[Job], Relatives]) -> None:
        self._handlers = handlers
        self._relatives = relatives
        self.stop_seconds = _STOP_SECONDS

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        """Run the handler of the job's type, and turn its result or exception into a verdict.

        Cancelling stops an async handler at its next ``await``. It makes the next call of a plain handler to its job
        raise, and waits for the end of the handler; cancelling a second time abandons the handler.
        """
        handler, loop = self._handlers[job.queue, job.type], asyncio.get_running_loop()
        if handler.is_async:
            active = ActiveJob(job, reporter, self._relatives(job))
            stepper = active._stepper  # noqa: SLF001 - of the job that was made here
            ended = await in_loop(lambda: handler.function(active), f"job-{job.id}", idle=stepper.idle)
        else:
            blocking = BlockingJob(job, reporter, self._relatives(job), loop)
            stepper = blocking._stepper  # noqa: SLF001 - as above
            ended = await in_thread(handler.function, blocking)
        task = asyncio.current_task()
        if ended.stopped and task is not None and task.cancelling():
            raise asyncio.CancelledError
        if isinstance(ended.verdict, Success) and not stepper.is_suspended:
            await stepper.tell_unused()
        return stepper.ended(ended.verdict, stopped=ended.stopped)
