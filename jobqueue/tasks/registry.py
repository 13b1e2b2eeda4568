"""The handlers and tasks of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import DEFAULT_QUEUE, NewJob
from jobqueue.processors.callbacks.handlers import Handler, refuse_bare
from jobqueue.tasks.cron import CodeSchedules, job_of, schedule_name
from jobqueue.tasks.decorator import TaskDecorator
from jobqueue.tasks.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.producer import Producer
    from jobqueue.domain.schedules.declaration import Declaration
    from jobqueue.domain.schedules.schedule import Missed

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


class HandlerRegistry:
    """Registers functions that run jobs.

    Args:
        producer: adds the jobs of tasks.
        queue: of jobs that name none.

    Attributes:
        handlers: by queue and type.
    """

    def __init__(self, producer: Producer, queue: str = DEFAULT_QUEUE) -> None:
        self._producer = producer
        self._default_queue = queue
        self.handlers: dict[tuple[str, str], Handler] = {}
        self._code_schedules = CodeSchedules()

    def handler(self, kind: str, *, queue: str | None = None, concurrency: int | None = None) -> Callable[[F], F]:
        """Decorate the function that runs jobs of a type: ``async``, or plain and then in a thread.

        Args:
            kind: the job type.
            queue: the queue of the jobs; ``None`` for the default.
            concurrency: jobs of the type at a time in this process; ``None`` for as many as the worker takes.

        Raises:
            InvalidInputError: a wrong name or number, or a type that has a handler already.
            TypeError: the decorator has no type, or the function is a generator or does not take exactly the job.
        """
        refuse_bare(kind)
        of_queue = self._default_queue if queue is None else queue
        NewJob(type=kind, queue=of_queue)
        _check_concurrency(concurrency)

        def register(function: F) -> F:
            self._register(Handler(type=kind, queue=of_queue, function=function, concurrency=concurrency))
            return function

        return register

    def task(
        self,
        name: str | None = None,
        *,
        concurrency: int | None = None,
        aliases: Sequence[str] = (),
        upgrade: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        **defaults: Unpack[JobOptions],
    ) -> TaskDecorator:
        """Decorate a function with types, whose calls can be added as jobs: ``async``, or plain and then in a thread.

        Its parameters are the job, which may be left out, and the arguments, which ``data`` of a job has by name.

        Args:
            name: the type of the jobs; ``None`` for the name of the function.
            concurrency: jobs of the task at a time in this process; ``None`` for as many as the worker takes.
            aliases: former names of the task, whose jobs run too.
            upgrade: gets a copy of data that does not fit the function, and returns data that does.
            defaults: fields of its jobs, such as ``queue`` and ``attempts``.

        Raises:
            InvalidInputError: a wrong name or option, or a name that has a handler already.
            TypeError: the function cannot be a task.
        """
        _check_concurrency(concurrency)
        if self._default_queue != DEFAULT_QUEUE:
            defaults = {"queue": self._default_queue, **defaults}
        return TaskDecorator(
            self._producer,
            self._register,
            name,
            concurrency=concurrency,
            aliases=aliases,
            upgrade=upgrade,
            defaults=cast("Mapping[str, Any]", defaults),
        )

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
        """Decorate a task or a handler to declare a schedule of its jobs, which workers store when they start.

        Args:
            cron: five or six fields, or a word such as ``@daily``.
            every: seconds, in place of a cron expression.
            timezone: of the cron expression, such as ``Europe/Berlin``; UTC by default.
            name: of the schedule; ``None`` for the type of its jobs, with a hyphen for what no name may have.
            missed: ``skip``, ``one`` or ``all``: jobs for times at which no process ran.
            data: of the jobs; the arguments of the task by name.
            options: other fields of the jobs, in place of those of the task.

        Raises:
            InvalidInputError: naming each unacceptable value; the name was declared before.
            TypeError: the function is no task or handler of this queue, or cannot be called with the data.
        """
        moment: object = cron
        if callable(moment) or isinstance(moment, Task):
            raise TypeError('write @queue.cron("30 2 * * *"), with the time in parentheses')
        fields = {"cron": cron, "every": every, "timezone": timezone, "missed": missed}
        definition = {field: value for field, value in fields.items() if value is not None}

        def declare(function: T) -> T:
            job = job_of(function, self.handlers.values(), data, cast("Mapping[str, Any]", options))
            self._code_schedules.add(definition, schedule_name(job.type) if name is None else name, job, function)
            return function

        return declare

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """The schedules that `cron` has declared, by name."""
        return self._code_schedules.by_name

    def _register(self, handler: Handler) -> None:
        for place, kind in enumerate(handler.types):
            NewJob(type=kind, queue=handler.queue)
            if (handler.queue, kind) in self.handlers or kind in handler.types[:place]:
                raise InvalidInputError({"type": [f"{kind!r} of queue {handler.queue!r} has a handler already"]})
        self.handlers |= {(handler.queue, kind): handler for kind in handler.types}


def _check_concurrency(concurrency: int | None) -> None:
    if concurrency is not None and concurrency < 1:
        raise InvalidInputError({"concurrency": ["must be at least 1"]})
