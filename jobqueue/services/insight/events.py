"""Telling whoever listens of changes of jobs: one stream for all, and one of its own for who has to catch up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError, DatabaseUnavailableError
from jobqueue.domain.insight.event import EventFilter, JobEvent
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
"""Events that are kept for a reader who does not take them; then it is dropped."""
BEAT_SECONDS: Final = 15.0
"""After so long without an event a reader is told how far the stream is."""
_OPEN_SECONDS: Final = 10.0
_LINGER_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.5
_MOST_CATCHING_UP: Final = 16


class TooManyReadersError(Exception):
    """Refuse one more reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """Nothing happened; the stream has come so far."""

    position: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Changes may have been missed before this position."""

    position: str | None


Item = JobEvent | KeepAlive | Gap


class Subscription:
    """What one listener has not taken yet.

    Attributes:
        interest: what it wants to hear of.
        is_over: it gets nothing any more.
        known_until: changes up to this position it has from elsewhere.
    """

    def __init__(self, interest: EventFilter, most: int) -> None:
        self.interest = interest
        self.is_over = False
        self.known_until = ""
        self._most = most
        self._items: deque[JobEvent | Gap] = deque()
        self._news = asyncio.Event()

    def tell(self, item: JobEvent | Gap) -> None:
        """Keep something for the listener; one who is too slow for that gets nothing any more."""
        if self.is_over or (isinstance(item, JobEvent) and not self.interest.takes(item)):
            return
        if len(self._items) >= self._most:
            log.info("a reader of events is too slow and dropped", kept=len(self._items))
            self._items.clear()
            self.end()
            return
        self._items.append(item)
        self._news.set()

    def end(self) -> None:
        """Let the listener hear nothing any more."""
        self.is_over = True
        self._news.set()

    async def take(self, within: float) -> JobEvent | Gap | None:
        """Return the next item; ``None`` if there is none in time or any more."""
        if not self._items and not self.is_over:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._news.wait()
        return self._items.popleft() if self._items else None


class Events:
    """Reads the stream while somebody listens, and hands each change to all who do.

    Args:
        feed: opens streams.
        most_kept: as `MOST_KEPT`.
        beat: as `BEAT_SECONDS`.

    Attributes:
        turns: survive errors nobody foresaw.
    """

    def __init__(self, stream: JobStream, *, most_kept: int = MOST_KEPT, beat: float = BEAT_SECONDS) -> None:
        self._stream = stream
        self._most_kept = most_kept
        self._beat = beat
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
        """How many listen."""
        return len(self._readers)

    def close(self) -> None:
        """Let nobody listen any more."""
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
        """Let somebody hear of all changes from the beginning of the block on.

        Raises:
            DatabaseUnavailableError: the stream cannot be opened now.
        """
        reader = Subscription(interest, self._most_kept)
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
        """Yield changes as they happen, or all since a position; ends when the listener is too slow, or at the close.

        Raises:
            TooManyReadersError: there are too many already.
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
                # Nothing is said of a gap: who comes back elsewhere hears of everything.
                return
            if reader is None:
                reader = await stack.enter_async_context(self.reading(interest))
                yield KeepAlive(position=self._position) if after is None else Gap(position=self._position)
            while not self._closing:
                found = await reader.take(self._beat)
                if isinstance(found, JobEvent) and found.position <= reader.known_until:
                    continue
                if found is not None:
                    yield found
                elif reader.is_over:
                    return
                else:
                    yield KeepAlive(position=max(self._position or "", reader.known_until) or None)

    async def _caught_up(
        self, interest: EventFilter, after: str, stack: contextlib.AsyncExitStack
    ) -> AsyncGenerator[Item | Subscription, None]:
        """Yield what has happened since a position, and at last a reader that goes on from there; none after a gap.

        The reader joins when this stream has nothing more at the moment. What the shared one has told until then is
        still taken from here, and what it tells from then on is kept by the reader: also what this stream, which may
        be ahead, has told already.
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
                log.info("events since then are not known any more", error=str(error)[:200])
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
        """Read the stream as long as somebody listens, from where it broke off if it does."""
        self._position = None
        while True:
            with self.turns.turn():
                if await self._has_read():
                    return
            if self.turns.pause:
                # The same change may raise the same error again: the stream goes on behind it.
                self._miss()
            await asyncio.sleep(max(_AGAIN_SECONDS, self.turns.pause))

    async def _has_read(self) -> bool:
        """Read until nobody listens any more; tell whether that is so, or the stream has broken off."""
        try:
            await self._read()
        except HistoryLostError as error:
            log.warning("changes may have been missed", error=str(error)[:200])
            self._miss()
        except DatabaseError as error:
            log.warning("the stream of changes is broken", error=str(error))
        else:
            return True
        return False

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
                    # Whoever comes now opens another one.
                    self._opened.clear()
                    self._task = None
                    return
