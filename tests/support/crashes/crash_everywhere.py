"""A process that dies just before, or just after, a certain one of its writes, all within the process of the test.

Its writes are counted at the driver. From its death on every further call of its client fails, as those of a dead
process are never sent.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection

from jobqueue.services.application import Runtime
from jobqueue.store.mongo.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from jobqueue.settings import Settings

_WRITES: Final = (
    "insert_one",
    "insert_many",
    "update_one",
    "update_many",
    "find_one_and_update",
    "find_one_and_replace",
    "replace_one",
    "bulk_write",
    "delete_one",
    "delete_many",
)
_READS: Final = ("find_one", "count_documents")


class Crash(BaseException):
    """The process has died."""


@dataclass(slots=True, kw_only=True)
class Mortal:
    """A process that dies.

    Attributes:
        nth: the write at which that happens.
        after: only when the write has been made.
        at: where it died, for people; ``None`` as long as it lives.
        seen: writes so far.
    """

    nth: int
    after: bool
    at: str | None = None
    seen: int = 0
    clients: list[Any] = field(default_factory=list)

    async def writes(self, call: Callable[[], Any], what: str) -> Any:
        """Make a write, and die at the chosen one."""
        self.lives()
        self.seen += 1
        is_last = self.seen == self.nth
        if is_last and not self.after:
            self.at = f"before {what}"
            raise Crash
        answer = await call()
        if is_last:
            self.at = f"after {what}"
            raise Crash
        return answer

    def lives(self) -> None:
        """Check that the process lives.

        Raises:
            Crash: it does not.
        """
        if self.at is not None:
            raise Crash


class Reaping:
    """Lets the clients of a mortal die."""

    def __init__(self) -> None:
        self._mortal: Mortal | None = None

    @contextlib.contextmanager
    def watching(self, mortal: Mortal) -> Iterator[None]:
        """Count the writes of a process."""
        self._mortal = mortal
        try:
            yield
        finally:
            self._mortal = None

    def of(self, client: Any) -> Mortal | None:
        """Return the mortal whose client this is."""
        # Two clients of one server are equal.
        is_its = self._mortal is not None and any(own is client for own in self._mortal.clients)
        return self._mortal if is_its else None


@contextlib.contextmanager
def reaping() -> Iterator[Reaping]:
    """Watch the writes of all clients of this process."""
    reaper = Reaping()
    with contextlib.ExitStack() as stack:
        for name in (*_WRITES, *_READS):
            stack.enter_context(_replaced(AsyncIOMotorCollection, name, functools.partial(_on_collection, reaper)))
        stack.enter_context(
            _replaced(AsyncIOMotorClientSession, "commit_transaction", functools.partial(_on_session, reaper))
        )
        yield reaper


@contextlib.contextmanager
def _replaced(kind: Any, name: str, make: Callable[[Any, str], Any]) -> Iterator[None]:
    real = getattr(kind, name)
    setattr(kind, name, make(real, name))
    try:
        yield
    finally:
        setattr(kind, name, real)


def _on_collection(reaper: Reaping, real: Any, name: str) -> Any:
    async def call(self: Any, *args: Any, **options: Any) -> Any:
        mortal = reaper.of(self.database.client)
        if mortal is None:
            return await real(self, *args, **options)
        if name in _READS:
            mortal.lives()
            return await real(self, *args, **options)
        what = f"{name} on {self.name} {str(args[1] if len(args) > 1 else '')[:100]}"
        return await mortal.writes(lambda: real(self, *args, **options), what)

    return call


def _on_session(reaper: Reaping, real: Any, name: str) -> Any:
    async def call(self: Any) -> Any:
        mortal = reaper.of(self.client)
        return await (real(self) if mortal is None else mortal.writes(lambda: real(self), name))

    return call


@contextlib.asynccontextmanager
async def process(settings: Settings, mortal: Mortal) -> AsyncIterator[Runtime]:
    """Open the services of a mortal process; the indexes exist already."""
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(settings.mongo_url, uuidRepresentation="standard")
    runtime = Runtime(settings, Database(client, settings.db, settings.mongo_url or ""), None)
    mortal.clients.append(client)
    try:
        await runtime.configs.refresh()
        yield runtime
    finally:
        runtime.keeper.stop()
        client.close()
