"""The handlers and tasks of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import DEFAULT_QUEUE, NewJob
from jobqueue.processors.callbacks.handlers import Handler, refuse_bare
from jobqueue.tasks.decorator import TaskDecorator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.producer import Producer

F = TypeVar("F", bound="Callable[..., Any]")


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

    def _register(self, handler: Handler) -> None:
        for place, kind in enumerate(handler.types):
            NewJob(type=kind, queue=handler.queue)
            if (handler.queue, kind) in self.handlers or kind in handler.types[:place]:
                raise InvalidInputError({"type": [f"{kind!r} of queue {handler.queue!r} has a handler already"]})
        self.handlers |= {(handler.queue, kind): handler for kind in handler.types}


def _check_concurrency(concurrency: int | None) -> None:
    if concurrency is not None and concurrency < 1:
        raise InvalidInputError({"concurrency": ["must be at least 1"]})
