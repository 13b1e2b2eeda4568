"""Check the functions that are registered as handlers."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.text import told

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.processors.callbacks.calling import Function

_MOST_WRAPPED: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """A function that runs the jobs of one type in one queue.

    Attributes:
        concurrency: jobs of the handler at a time in this process; ``None`` for as many as the worker takes.
        aliases: former names of the type.
        describe: returns the JSON Schema of the data of its jobs as JSON; ``None`` if nothing is known of it.

    Raises:
        TypeError: the function is not callable, is a generator function, or cannot be called with the job alone.
    """

    type: str
    queue: str
    function: Function
    concurrency: int | None = None
    aliases: tuple[str, ...] = ()
    describe: Callable[[], str | None] = field(default=lambda: None, compare=False)

    def __post_init__(self) -> None:
        name = name_of(self.function)
        if not callable(self.function):
            raise TypeError(f"a handler must be a function, not {name}")
        refuse_generator(self.function)
        if (wrong := _signature_fault(self.function)) is not None:
            raise TypeError(f"{name} must take exactly one argument, the job: {wrong}")

    @property
    def is_async(self) -> bool:
        """True if the function is awaited; otherwise it runs in a thread."""
        return is_async(self.function)

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the jobs that the function runs."""
        return self.type, *self.aliases


def watched(handler: Handler, errors: dict[str, BaseException]) -> Handler:
    """Return a handler that keeps the last exception of each job by its id, for tests."""
    # Here, because the frames of this package are left out of the traces of jobs.
    function = handler.function

    @functools.wraps(function)
    async def in_loop(job: Any) -> Any:
        try:
            return await function(job)
        except Exception as error:
            errors[job.id] = error
            raise

    @functools.wraps(function)
    def in_thread(job: Any) -> Any:
        try:
            return function(job)
        except Exception as error:
            errors[job.id] = error
            raise

    return replace(handler, function=in_loop if handler.is_async else in_thread)


def refuse_bare(kind: object) -> None:
    """Refuse a function in place of the type of the jobs.

    Raises:
        TypeError: the decorator was used without parentheses.
    """
    if callable(kind):
        name = name_of(kind)
        raise TypeError(f'a handler needs the type of its jobs: write @queue.handler("TYPE") above {name}')


def is_async(function: Any) -> bool:
    """Tell whether a function is awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(_body(function))


def refuse_generator(function: Any) -> None:
    """Refuse a function whose call would not run its body.

    Raises:
        TypeError: it is a generator function.
    """
    body = _body(function)
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise TypeError(
            f"{name_of(function)} is a generator function, whose body would not run: remove yield, return a list"
        )


def _body(function: Any) -> Any:
    """Return the function behind partial objects, bound and static methods, and objects that can be called."""
    for _ in range(_MOST_WRAPPED):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, staticmethod) or inspect.ismethod(function):
            function = function.__func__
        elif not inspect.isroutine(function) and not inspect.isclass(function):
            function = type(function).__call__
        else:
            break
    return function


def _signature_fault(function: Callable[..., Any]) -> str | None:
    """Return why a function certainly cannot be called with the job alone, or ``None``."""
    if hasattr(function, "__wrapped__") or hasattr(function, "__signature__"):
        # The signature of a wrapper may be that of the wrapped function.
        return None
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(object())
    except TypeError as error:
        return str(error)
    return None


def name_of(function: object) -> str:
    """Return the name of a function for messages."""
    return told(getattr(function, "__qualname__", None) or function)
