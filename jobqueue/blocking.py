"""Blocking calls made of awaited ones, with the same signatures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from jobqueue.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class BlockingCalls(Generic[C_co]):
    """Runs coroutines of an object on an event loop in a thread of its own.

    Args:
        calls: the object whose coroutines run.
        farewell: closes what its coroutines have opened.
    """

    def __init__(self, calls: C_co, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._calls = calls
        self._thread = LoopThread(farewell)

    @property
    def calls(self) -> C_co:
        """The object whose coroutines run."""
        return self._calls

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine of `calls`."""
        return self._thread.run(call)

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield the items of an asynchronous iterator of `calls`."""
        return self._thread.iterate(items)

    def close(self) -> None:
        """Close the connections and end the thread; a further call begins both again."""
        self._thread.stop()


class Blocking(Generic[C, P, R]):
    """A method that waits for the end of a coroutine of the object.

    Args:
        method: of the class of the object.
    """

    def __init__(self, method: Callable[Concatenate[C, P], Coroutine[Any, Any, R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, client: None, owner: type[BlockingCalls[C]]) -> Blocking[C, P, R]: ...
    @overload
    def __get__(self, client: BlockingCalls[C], owner: type[BlockingCalls[C]]) -> Callable[P, R]: ...
    def __get__(
        self, client: BlockingCalls[C] | None, owner: type[BlockingCalls[C]]
    ) -> Blocking[C, P, R] | Callable[P, R]:
        """Return the method of a client."""
        if client is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return client.run(self._method(client.calls, *args, **kwargs))

        return call

    if TYPE_CHECKING:
        # Pyright compares an attribute with the method of a protocol without asking `__get__`.
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Wait for the end of the coroutine."""
            ...


class Iterating(Generic[C, P, R]):
    """A method that yields the items of an asynchronous iterator of the object; as `Blocking`."""

    def __init__(self, method: Callable[Concatenate[C, P], AsyncIterator[R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, client: None, owner: type[BlockingCalls[C]]) -> Iterating[C, P, R]: ...
    @overload
    def __get__(self, client: BlockingCalls[C], owner: type[BlockingCalls[C]]) -> Callable[P, Iterator[R]]: ...
    def __get__(
        self, client: BlockingCalls[C] | None, owner: type[BlockingCalls[C]]
    ) -> Iterating[C, P, R] | Callable[P, Iterator[R]]:
        """Return the method of a client."""
        if client is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
            return client.iterate(self._method(client.calls, *args, **kwargs))

        return call

    if TYPE_CHECKING:
        # As above.
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
            """Yield the items."""
            ...
