"""`@queue.task()`: make a task out of a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, overload

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.processors.callbacks.handlers import Handler, name_of
from jobqueue.processors.callbacks.signatures import TaskSignature
from jobqueue.processors.callbacks.task_calls import handler_of
from jobqueue.tasks.task import Task, check_options

if TYPE_CHECKING:
    from jobqueue.domain.producer import Producer
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob

P = ParamSpec("P")
R = TypeVar("R")
_LAMBDA: Final = "<lambda>"
Upgrade = Callable[[dict[str, Any]], Mapping[str, Any]]


class TaskDecorator:
    """Makes tasks of one queue object.

    Args:
        queue: adds the jobs.
        register: makes the handler of a task known to workers.
        name: of the task; ``None`` for the name of the function.
        concurrency: jobs at a time in this process.
        aliases: former names.
        upgrade: makes the present arguments out of data that does not fit.
        defaults: options of the jobs.

    Raises:
        TypeError: the decorator was used without parentheses.
    """

    def __init__(
        self,
        queue: Producer,
        register: Callable[[Handler], None],
        name: str | None,
        *,
        concurrency: int | None,
        aliases: Sequence[str],
        upgrade: Upgrade | None,
        defaults: Mapping[str, Any],
    ) -> None:
        if callable(name):
            raise TypeError(f"write @queue.task() above {name_of(name)}, with parentheses")
        if isinstance(aliases, str):
            raise InvalidInputError({"aliases": ["must be a list of names"]})
        check_options(defaults)
        self._queue, self._register, self._name = queue, register, name
        self._concurrency, self._aliases, self._upgrade = concurrency, tuple(aliases), upgrade
        self._defaults = defaults

    @overload
    def __call__(self, function: Callable[Concatenate[ActiveJob, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[BlockingJob, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[Any, Any]:
        """Make a task out of a function.

        Raises:
            TypeError: the function cannot be a task.
            InvalidInputError: a wrong name or option, or a name that has a handler already.
        """
        if not callable(function):
            raise TypeError(f"a task must be a function, not {name_of(function)}")
        name = self._name if self._name is not None else getattr(function, "__name__", _LAMBDA)
        if name == _LAMBDA:
            raise TypeError(f'{name_of(function)} has no name of its own: write @queue.task("NAME")')
        signature = TaskSignature(function, name)
        queue = NewJob(type=name, **self._defaults).queue
        self._register(
            Handler(
                type=name,
                queue=queue,
                function=handler_of(signature, self._upgrade),
                concurrency=self._concurrency,
                aliases=self._aliases,
                describe=functools.cache(lambda: signature.schema(takes_other=self._upgrade is not None)),
            )
        )
        return Task(name, signature, self._queue, self._defaults, self._aliases)
