"""An event loop in a thread of its own, for programs without one; a forked process gets a loop anew."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

T = TypeVar("T")
_STOP_SECONDS: Final = 10.0
_INHERITED: Final[list[object]] = []


_ALL: Final[weakref.WeakSet[LoopThread]] = weakref.WeakSet()
"""All loop threads of the process."""


class LoopThread:
    """Runs coroutines for any number of threads.

    The thread begins with the first call. It ends with `stop`, when this object is garbage, or with the program.

    Args:
        farewell: returns a coroutine that closes what the coroutines have opened on the loop.
    """

    def __init__(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._farewell = farewell
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: threading.Thread | None = None
        self._finalizer: Callable[[], object] = lambda: None
        _ALL.add(self)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine; an interrupt of the calling thread cancels it.

        Raises:
            RuntimeError: the caller is a coroutine of this very loop.
            BaseException: of the coroutine.
        """
        loop = self._running()
        if threading.current_thread() is self._worker:
            call.close()
            raise RuntimeError("a blocking call cannot be made on its own event loop")
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError("the call was cancelled, because the client was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise

    def submit(self, call: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin a coroutine, and return the future of its result."""
        return asyncio.run_coroutine_threadsafe(call, self._running())

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield the items of an asynchronous iterator."""

        async def following() -> tuple[T, ...]:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return ()

        loop = self._running()
        try:
            while item := self.run(following()):
                yield item[0]
        finally:
            close = getattr(items, "aclose", None)
            # A generator may become garbage after its loop, or in the thread of it.
            if close is not None and self._loop is loop and threading.current_thread() is not self._worker:
                self.run(close())

    def stop(self) -> None:
        """Close what was opened, and end the thread; a further call begins another one."""
        with self._lock:
            self._loop = None
            finalizer, self._finalizer = self._finalizer, lambda: None
        finalizer()

    def forget(self) -> None:
        """In a forked process, leave the loop and all that was opened on it to the parent."""
        # Kept, because the end of these objects would close sockets that both processes share.
        _INHERITED.append((self._loop, self._finalizer))
        self._lock, self._loop = threading.Lock(), None
        detach = getattr(self._finalizer, "detach", None)
        if detach is not None:
            detach()
        self._finalizer = lambda: None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(loop,), name="jobqueue-client", daemon=True)
                self._worker = thread
                thread.start()
                self._finalizer = weakref.finalize(self, _end, loop, thread, self._farewell, os.getpid())
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end(
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    farewell: Callable[[], Coroutine[Any, Any, None]],
    process: int,
) -> None:
    if process != os.getpid() or not thread.is_alive() or loop.is_closed():
        return

    async def leave() -> None:
        me = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not me]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await farewell()
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()

    if thread is threading.current_thread():
        # The last reference has gone in a coroutine: nobody can wait for the end here.
        loop.create_task(leave()).add_done_callback(lambda _: loop.stop())
        return
    # At the end of the program threads of executors can no longer be made.
    with contextlib.suppress(Exception):
        asyncio.run_coroutine_threadsafe(leave(), loop).result(_STOP_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_STOP_SECONDS)


def _forget_all() -> None:
    for one in list(_ALL):
        one.forget()


os.register_at_fork(after_in_child=_forget_all)
