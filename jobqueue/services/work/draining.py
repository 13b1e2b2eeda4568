"""The drain of this process: it claims no more jobs, finishes what it runs, and leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobqueue.domain.work.drain import Drain
    from jobqueue.services.work.dispatcher import Dispatcher
    from jobqueue.store.work.drains import DrainStore

log = get_logger(__name__)
_LOOK_SECONDS: Final = 0.1
_AGAIN_SECONDS: Final = 1.0


class Draining:
    """Carries out the drain that the document of this process asks for.

    It ends the dispatchers of the process. So `jobqueue worker` and `jobqueue serve` exit, and the program of a
    `JobQueue` goes on without a worker.

    Args:
        store: of drains.
        name: of this process.
        grace: seconds for which running jobs may go on.
        dispatchers: returns those of this process.

    Attributes:
        is_over: the drain was carried out; workers that this process begins afterwards are new ones.
    """

    def __init__(
        self, store: DrainStore, name: str, grace: float, dispatchers: Callable[[], Sequence[Dispatcher]]
    ) -> None:
        self._store = store
        self._name = name
        self._grace = grace
        self._dispatchers = dispatchers
        self.is_over = False
        self._drain: Drain | None = None
        self._task: asyncio.Task[None] | None = None

    def follow(self, drain: Drain | None) -> None:
        """Begin a drain, go on with it, or undo it, as the last sign of life has read it."""
        if drain is None:
            if self._drain is not None:
                self._undo()
            return
        if self._drain is None or self._drain.id != drain.id:
            self.close()
            log.info("drain started", by=drain.by, seconds=self._grace)
            self._task = asyncio.create_task(self._carry_out(drain), name="drain")
        self._drain = drain
        self._hold(holds=True)

    @property
    def is_begun(self) -> bool:
        """True from the start of a drain until it is over or undone."""
        return self._drain is not None

    def begun(self, dispatcher: Dispatcher) -> None:
        """Keep a dispatcher that begins during a drain from claims."""
        if self._drain is not None:
            dispatcher.hold(holds=True)

    def end(self) -> None:
        """Forget the drain of a worker that has left."""
        self.close()
        self._drain, self.is_over = None, False

    def close(self) -> None:
        """End the wait for running jobs."""
        if self._task is not None:
            self._task.cancel()
        self._task = None

    def _undo(self) -> None:
        self.close()
        self._drain = None
        log.info("drain undone")
        self._hold(holds=False)

    def _hold(self, *, holds: bool) -> None:
        for dispatcher in self._dispatchers():
            dispatcher.hold(holds=holds)

    async def _carry_out(self, drain: Drain) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace
        while loop.time() < deadline and any(dispatcher.is_busy for dispatcher in self._dispatchers()):  # noqa: ASYNC110 - each has many runs
            await asyncio.sleep(_LOOK_SECONDS)
        while True:
            try:
                if not await self._store.leave(self._name, drain.id):
                    # The next sign of life reads that the drain was undone.
                    return
                break
            except DatabaseError as error:
                log.warning("drain awaits the database", error=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
        ended = self._dispatchers()
        log.info("worker drained", running=sum(dispatcher.running for dispatcher in ended))
        await asyncio.gather(*(dispatcher.stop(0) for dispatcher in ended), return_exceptions=True)
        self._drain, self.is_over = None, True
