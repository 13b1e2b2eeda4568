"""Tasks: functions with types that run as jobs."""

from __future__ import annotations

import copy
import functools
import inspect
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast, overload

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import DEFAULT_QUEUE
from jobqueue.domain.jobs.options import JobOptions
from jobqueue.domain.jobs.task_job import TaskJob
from jobqueue.domain.text import type_name
from jobqueue.domain.unknown import unknown_names
from jobqueue.processors.callbacks.task_calls import call_now
from jobqueue.tasks.ref import BlockingRef, Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobqueue.domain.producer import BlockingProducer, Producer
    from jobqueue.processors.callbacks.signatures import TaskSignature

P = ParamSpec("P")
R = TypeVar("R")
_SESSION = "session"


class TaskOptions(JobOptions, total=False):
    """The fields of a new job, and a Motor session whose transaction adds the job."""

    session: Any


class Task(Generic[P, R]):
    """A function whose calls can be added as jobs; ``@queue.task()`` makes it.

    Attributes:
        name: the type of its jobs.
        names: its name, and its former names.
        queue: the queue of its jobs.
    """

    def __init__(
        self,
        name: str,
        signature: TaskSignature,
        queue: Producer,
        options: Mapping[str, Any],
        aliases: Sequence[str] = (),
    ) -> None:
        functools.update_wrapper(cast("Any", self), signature.function)
        self.name = name
        self.names = (name, *aliases)
        self._signature = signature
        self._queue = queue
        self._options = dict(options)

    @property
    def queue(self) -> str:
        """The queue of its jobs."""
        return str(self._options.get("queue", DEFAULT_QUEUE))

    def __repr__(self) -> str:
        return f"<Task {self.name} of queue {self.queue}>"

    def options(self, **options: Unpack[TaskOptions]) -> Task[P, R]:
        """Return the same task with options in place of its own.

        Args:
            options: fields of a new job besides its type and data, and ``session``: a Motor session of the caller's
                transaction, for `add`.

        Raises:
            InvalidInputError: there is no such option.
        """
        check_options(options)
        task = copy.copy(self)
        task._options = _merged(self._options, options)  # noqa: SLF001 - of the copy
        return task

    @overload
    def using(self, queue: Producer) -> Task[P, R]: ...
    @overload
    def using(self, queue: BlockingProducer) -> BlockingTask[P, R]: ...
    def using(self, queue: Producer | BlockingProducer) -> Task[P, R] | BlockingTask[P, R]:
        """Return the same task for another queue: a `JobQueue` or an `AsyncClient`, a `SyncJobQueue` or a `Client`.

        Raises:
            TypeError: the object adds no jobs.
        """
        add = getattr(queue, "add_job", None)
        if not callable(add):
            raise TypeError(
                f"using takes a JobQueue, a SyncJobQueue, an AsyncClient or a Client, not {type_name(queue)}"
            )
        if not inspect.iscoroutinefunction(add):
            return BlockingTask(self, cast("BlockingProducer", queue))
        task = copy.copy(self)
        task._queue = cast("Producer", queue)  # noqa: SLF001 - of the copy
        return task

    def new(self, *args: P.args, **kwargs: P.kwargs) -> TaskJob[R]:
        """Return a job that is not added yet, for `add_all`, batches and children.

        Raises:
            TypeError: the function cannot be called so.
            InvalidInputError: naming each argument of another type, and unacceptable options.
        """
        if _SESSION in self._options:
            raise InvalidInputError({_SESSION: ["can be used with add only"]})
        return self._new(self._signature.data(*args, **kwargs))

    async def add(self, *args: P.args, **kwargs: P.kwargs) -> Ref[R]:
        """Add a job with these arguments.

        Raises:
            TypeError, InvalidInputError: as `new`.
            KeyConflictError: an unfinished job of the queue has the key.
        """
        new, session = self.made(*args, **kwargs)
        job = await self._queue.add_job(new, session=session)
        return Ref(job.id, self._queue, new.decode)

    def made(self, *args: P.args, **kwargs: P.kwargs) -> tuple[TaskJob[R], Any]:
        """Return a job that is not added yet, and the session of the options, if there is one; as `new`."""
        return self._new(self._signature.data(*args, **kwargs)), self._options.get(_SESSION)

    async def add_all(self, jobs: Iterable[TaskJob[R]]) -> list[Ref[R]]:
        """Add up to 1,000 jobs of `new`, all or none; return them in their order.

        Raises:
            TypeError: a job was not made by `new`.
            InvalidInputError: no jobs, or too many.
            KeyConflictError: an unfinished job has the key of one.
        """
        new = _made_by_new(jobs)
        added = await self._queue.add_all(new)
        return [Ref(job.id, self._queue, task_job.decode) for job, task_job in zip(added, new, strict=True)]

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now, and return its result as it is; nothing is stored.

        A function that takes the job gets one that keeps logs and steps in memory. A plain function runs in a thread.

        Raises:
            TypeError, InvalidInputError: as `new`.
            Exception: of the function.
        """
        new = self._new(self._signature.data(*args, **kwargs))
        result: R = await call_now(self._signature, new, *args, **kwargs)
        return result

    def ref(self, job_id: str) -> Ref[R]:
        """Return the reference to a job of the task by its id."""
        return Ref(job_id, self._queue, self.decode)

    def decode(self, value: Any) -> R:
        """Return a stored result of the task in the type that its function declares.

        Raises:
            ResultUnavailableError: the result is of another type.
        """
        result: R = self._signature.result(value)
        return result

    def _new(self, data: Mapping[str, Any]) -> TaskJob[R]:
        fields: Any = {name: value for name, value in self._options.items() if name != _SESSION}
        return TaskJob(type=self.name, data=data, decode=self.decode, **fields)


class BlockingTask(Generic[P, R]):
    """A task whose jobs are added by a blocking client; ``task.using(client)`` returns it.

    Attributes:
        name: the type of its jobs.
        queue: the queue of its jobs.
    """

    def __init__(self, task: Task[P, R], queue: BlockingProducer) -> None:
        self.name = task.name
        self._task = task
        self._queue = queue

    @property
    def queue(self) -> str:
        """The queue of its jobs."""
        return self._task.queue

    def __repr__(self) -> str:
        return f"<BlockingTask {self.name} of queue {self.queue}>"

    def options(self, **options: Unpack[TaskOptions]) -> BlockingTask[P, R]:
        """Return the same task with options in place of its own; as `Task.options`."""
        return BlockingTask(self._task.options(**options), self._queue)

    def new(self, *args: P.args, **kwargs: P.kwargs) -> TaskJob[R]:
        """Return a job that is not added yet; as `Task.new`."""
        return self._task.new(*args, **kwargs)

    def add(self, *args: P.args, **kwargs: P.kwargs) -> BlockingRef[R]:
        """Add a job with these arguments; as `Task.add`."""
        new, session = self._task.made(*args, **kwargs)
        return BlockingRef(self._queue.add_job(new, session=session).id, self._queue, new.decode)

    def add_all(self, jobs: Iterable[TaskJob[R]]) -> list[BlockingRef[R]]:
        """Add up to 1,000 jobs of `new`, all or none; as `Task.add_all`."""
        new = _made_by_new(jobs)
        added = self._queue.add_all(new)
        return [BlockingRef(job.id, self._queue, made.decode) for job, made in zip(added, new, strict=True)]

    def ref(self, job_id: str) -> BlockingRef[R]:
        """Return the reference to a job of the task by its id."""
        return BlockingRef(job_id, self._queue, self._task.decode)

    def decode(self, value: Any) -> R:
        """Return a stored result of the task in the type that its function declares; as `Task.decode`."""
        return self._task.decode(value)


def _made_by_new(jobs: Iterable[TaskJob[R]]) -> list[TaskJob[R]]:
    """Return jobs as a list.

    Raises:
        TypeError: a job was not made by `new`.
    """
    new = list(jobs)
    for job in new:
        if not isinstance(job, TaskJob):
            raise TypeError(f"add_all takes jobs of new(), not {type_name(job)}")
    return new


def check_options(options: Mapping[str, Any]) -> None:
    """Make sure that all options are known.

    Raises:
        InvalidInputError: naming each unknown option.
    """
    if unknown := unknown_names(options, TaskOptions.__optional_keys__, noun="option"):
        raise InvalidInputError(unknown)


def _merged(present: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with others in their place; a delay and a date for the start replace each other."""
    replaced = {"delay", "delay_til"} if {"delay", "delay_til"} & options.keys() else set()
    return {name: value for name, value in present.items() if name not in replaced} | dict(options)
