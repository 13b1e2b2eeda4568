"""Deliver changes of jobs to readers: one shared stream, and a stream of its own for each reader that catches up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError, DatabaseUnavailableError
from jobqueue.domain.insight.event import EventFilter, Gap, JobEvent
from jobqueue.journal import get_logger
from jobqueue.loop_errors import LoopErrors
from jobqueue.store.insight.job_stream import HistoryLostError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from jobqueue.store.insight.job_stream import JobStream

log = get_logger(__name__)
MOST_READERS: Final = 200
"""Readers of events in one process."""
MOST_KEPT: Final = 1000
"""Events that are kept for a slow reader; the reader is dropped after that."""
BEAT_SECONDS: Final = 15.0
"""Seconds without an event after which a reader gets the position of the stream."""
_OPEN_SECONDS: Final = 10.0
_LINGER_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.5
_MOST_CATCHING_UP: Final = 16


class TooManyReadersError(Exception):
    """Refuse one more reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """The position of the stream, without an event."""

    position: str | None


Item = JobEvent | KeepAlive | Gap


class Subscription:
    """A reader's buffer of events.

    Attributes:
        interest: a filter of events.
        is_over: no further events come.
        known_until: the reader has changes up to this position from another stream.
    """

    def __init__(self, interest: EventFilter) -> None:
        self.interest = interest
        self.is_over = False
        self.known_until = ""
        self._items: deque[JobEvent | Gap] = deque()
        self._news = asyncio.Event()

    def tell(self, item: JobEvent | Gap) -> None:
        """Keep an event for the reader; a full buffer ends the subscription."""
        if self.is_over or (isinstance(item, JobEvent) and not self.interest.takes(item)):
            return
        if len(self._items) >= MOST_KEPT:
            log.info("event reader dropped", kept=len(self._items))
            self._items.clear()
            self.end()
            return
        self._items.append(item)
        self._news.set()

    def end(self) -> None:
        """End the subscription."""
        self.is_over = True
        self._news.set()

    async def take(self, within: float) -> JobEvent | Gap | None:
        """Return the next item, or ``None`` after ``within`` seconds or at the end."""
        if not self._items and not self.is_over:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._news.wait()
        return self._items.popleft() if self._items else None


class Events:
    """Reads the stream while there are readers, and delivers each change to all of them.

    Args:
        stream: opens streams.

    Attributes:
        turns: survive unforeseen errors.
    """

    def __init__(self, stream: JobStream) -> None:
        self._stream = stream
        self._readers: set[Subscription] = set()
        self._following = 0
        self._joining = 0
        self._position: str | None = None
        self._opened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._catching_up = asyncio.Semaphore(_MOST_CATCHING_UP)
        self._closing = False
        self.turns = LoopErrors("events")

    @property
    def readers(self) -> int:
        """The number of readers."""
        return len(self._readers)

    def close(self) -> None:
        """End all subscriptions."""
        self._closing = True
        for reader in self._readers:
            reader.end()

    async def stop(self) -> None:
        """Close the stream and its connections."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.close()

    @contextlib.asynccontextmanager
    async def reading(self, interest: EventFilter) -> AsyncIterator[Subscription]:
        """Subscribe to all changes from the beginning of the block on.

        Raises:
            DatabaseUnavailableError: the stream cannot be opened now.
        """
        reader = Subscription(interest)
        self._joining += 1
        try:
            await self._open()
        finally:
            self._joining -= 1
        self._readers.add(reader)
        if self._closing:
            reader.end()
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    async def follow(self, interest: EventFilter, after: str | None = None) -> AsyncGenerator[Item, None]:
        """Yield changes as they happen, or all since a position, until the reader is too slow or `close`.

        Raises:
            TooManyReadersError: there are too many readers already.
            DatabaseUnavailableError: the stream cannot be opened now.
        """
        if self._following >= MOST_READERS:
            raise TooManyReadersError
        self._following += 1
        try:
            async for item in self._follow(interest, after):
                yield item
        finally:
            self._following -= 1

    async def _follow(self, interest: EventFilter, after: str | None) -> AsyncGenerator[Item, None]:
        async with contextlib.AsyncExitStack() as stack:
            reader: Subscription | None = None
            if after is not None:
                async with contextlib.aclosing(self._caught_up(interest, after, stack)) as steps:
                    async for item in steps:
                        if isinstance(item, Subscription):
                            reader = item
                        else:
                            yield item
            if self._closing:
                # Not a gap: the reader can go on at this position in another process.
                return
            if reader is None:
                reader = await stack.enter_async_context(self.reading(interest))
                yield KeepAlive(position=self._position) if after is None else Gap(position=self._position)
            while not self._closing:
                change = await reader.take(BEAT_SECONDS)
                if isinstance(change, JobEvent) and change.position <= reader.known_until:
                    continue
                if change is not None:
                    yield change
                elif reader.is_over:
                    return
                else:
                    yield KeepAlive(position=max(self._position or "", reader.known_until) or None)

    async def _caught_up(
        self, interest: EventFilter, after: str, stack: contextlib.AsyncExitStack
    ) -> AsyncGenerator[Item | Subscription, None]:
        """Yield changes since a position, and at last a subscription to go on with; no subscription after a gap.

        The subscription begins when this stream has nothing more at the moment. This stream goes on up to the position
        of the shared stream. From there on the subscription has all events, also events that this stream has yielded.
        """
        async with self._catching_up:
            reader, border, covered = None, "", after
            steps = self._stream.steps(after, quick=True)
            try:
                async with contextlib.aclosing(steps):
                    async for step in steps:
                        if self._closing:
                            return
                        if reader is not None and step.position > border:
                            break
                        covered = step.position
                        if step.event is not None and interest.takes(step.event):
                            yield step.event
                        elif step.event is None:
                            yield KeepAlive(position=step.position)
                            if reader is None:
                                reader = await stack.enter_async_context(self.reading(interest))
                                border = self._position or ""
                        if reader is not None and step.position >= border:
                            break
            except HistoryLostError as error:
                log.info("event history lost", error=str(error)[:200])
                return
        if reader is not None:
            reader.known_until = covered
            yield reader

    async def _open(self) -> None:
        if self._task is None or self._task.done():
            self._opened.clear()
            self._task = asyncio.create_task(self._run(), name="events")
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            raise DatabaseUnavailableError("the stream of changes cannot be opened now") from None

    async def _run(self) -> None:
        """Read the stream while there are readers; after a break go on at the last position."""
        self._position = None
        while True:
            with self.turns.turn():
                try:
                    await self._read()
                except HistoryLostError as error:
                    log.warning("changes missed", error=str(error)[:200])
                    self._miss()
                except DatabaseError as error:
                    log.warning("change stream broken", error=str(error))
                else:
                    return
            if self.turns.pause:
                # The same change may raise the same error again, so the stream skips the change.
                self._miss()
            await asyncio.sleep(max(_AGAIN_SECONDS, self.turns.pause))

    def _miss(self) -> None:
        """Read on from now, and tell all readers that changes may be missing."""
        self._position = None
        self._opened.clear()
        for reader in tuple(self._readers):
            reader.tell(Gap(position=None))

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _LINGER_SECONDS
        async with contextlib.aclosing(self._stream.steps(self._position)) as steps:
            async for step in steps:
                self._position = step.position
                self._opened.set()
                if step.event is not None:
                    for reader in tuple(self._readers):
                        reader.tell(step.event)
                if self._readers or self._joining:
                    until = loop.time() + _LINGER_SECONDS
                elif loop.time() > until:
                    # The next reader opens another stream.
                    self._opened.clear()
                    self._task = None
                    return
