"""Blocking calls made of those of `AsyncClient`, with the same signatures."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from jobqueue.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from jobqueue.client.async_client import AsyncClient

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class BlockingCalls:
    """Runs coroutines of `AsyncClient` on an event loop in a thread of its own.

    Attributes:
        calls: the client whose coroutines run.
    """

    def __init__(self, calls: AsyncClient) -> None:
        self.calls = calls
        self._thread = LoopThread(calls.close)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine of `calls`."""
        return self._thread.run(call)

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield the items of an asynchronous iterator of `calls`."""
        return self._thread.iterate(items)

    def close(self) -> None:
        """Close the connections and end the thread; a further call begins both again."""
        self._thread.stop()


class Blocking(Generic[P, R]):
    """A method that waits for the end of a coroutine of `AsyncClient`.

    Args:
        method: of `AsyncClient`.
    """

    def __init__(self, method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, client: None, owner: type[BlockingCalls]) -> Blocking[P, R]: ...
    @overload
    def __get__(self, client: BlockingCalls, owner: type[BlockingCalls]) -> Callable[P, R]: ...
    def __get__(self, client: BlockingCalls | None, owner: type[BlockingCalls]) -> Blocking[P, R] | Callable[P, R]:
        """Return the method of a client."""
        if client is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return client.run(self._method(client.calls, *args, **kwargs))

        return call


class Iterating(Generic[P, R]):
    """A method that yields the items of an asynchronous iterator of `AsyncClient`; as `Blocking`."""

    def __init__(self, method: Callable[Concatenate[AsyncClient, P], AsyncIterator[R]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, client: None, owner: type[BlockingCalls]) -> Iterating[P, R]: ...
    @overload
    def __get__(self, client: BlockingCalls, owner: type[BlockingCalls]) -> Callable[P, Iterator[R]]: ...
    def __get__(
        self, client: BlockingCalls | None, owner: type[BlockingCalls]
    ) -> Iterating[P, R] | Callable[P, Iterator[R]]:
        """Return the method of a client."""
        if client is None:
            return self

        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
            return client.iterate(self._method(client.calls, *args, **kwargs))

        return call
