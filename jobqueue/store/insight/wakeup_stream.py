"""The change stream of the database: wake-ups for waits on jobs and configuration.

Each process has one stream, which the server filters. No promise depends on it: a broken stream is reopened, and every
listener also polls.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.journal import get_logger
from jobqueue.loop_errors import LoopErrors
from jobqueue.store.mongo.connections import StreamClient
from jobqueue.store.mongo.database import brief
from jobqueue.store.mongo.driver import PyMongoError
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)
_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 5.0
_AWAIT_MS: Final = 5_000
"""Milliseconds after which the server answers without a change."""
_WOKEN_BY: Final = ["pending", "delayed", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeupEvent:
    """A change.

    Attributes:
        kind: ``job``; ``config``; or ``gap``, when changes may have been missed.
        queue: of the job, known only when it is new.
        priority: as queue.
        state: the job's new state.
        room: it has left its slots, so that a limit may let another job start.
        external: another tool has put it there.
    """

    kind: str
    job_id: str | None = None
    queue: str | None = None
    priority: int | None = None
    state: str | None = None
    room: bool = False
    external: bool = False


class WakeupStream:
    """Watches the database and calls the listeners for each change; a listener must return at once.

    Attributes:
        open: is set while the stream is open.
        trouble: the last error of the stream, if it broke.
        turns: survive unforeseen errors.
    """

    def __init__(self, database: Database) -> None:
        self._streams = StreamClient(database.url, database.name, "jobqueue-changes", 2)
        self._listeners: list[Callable[[WakeupEvent], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._stream: Any = None
        self._has_answered = False
        self.open = asyncio.Event()
        self.trouble: str | None = None
        self.turns = LoopErrors("changes", longest=_LONGEST_WAIT)

    def listen(self, listener: Callable[[WakeupEvent], None]) -> Callable[[], None]:
        """Call ``listener`` for every change from now on; return a call that stops that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def start(self) -> None:
        """Begin to watch, in the background."""
        self._task = asyncio.create_task(self._run(), name="changes")

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            if self._stream is not None:
                # A thread of the driver waits for the server, and the process for that thread.
                await self._streams.interrupt(self._stream)
            await asyncio.gather(self._task, return_exceptions=True)
        await self._streams.close()

    async def _run(self) -> None:
        wait = _FIRST_WAIT
        while True:
            self._has_answered = False
            with self.turns.turn():
                try:
                    await self._watch()
                except PyMongoError as error:
                    self.trouble = brief(error)
                    log.warning("change stream broken", error=self.trouble)
            if self._has_answered:
                wait = _FIRST_WAIT
            self.open.clear()
            await asyncio.sleep(max(wait, self.turns.pause))
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _watch(self) -> None:
        async with await self._streams.watch(_pipeline(), max_await_time_ms=_AWAIT_MS) as stream:
            self._stream = stream
            # The server keeps all changes from here on for this stream; to ask for the first would wait for one.
            self.open.set()
            self._tell(WakeupEvent(kind="gap"))
            while stream.alive:
                change = await stream.try_next()
                self._has_answered = True
                if change is not None:
                    self._tell(_event(change))

    def _tell(self, event: WakeupEvent) -> None:
        for listener in tuple(self._listeners):
            # A listener that fails does not block the others.
            with self.turns.turn():
                listener(event)


def _pipeline() -> list[dict[str, Any]]:
    state = {"$ifNull": ["$updateDescription.updatedFields.state", "$fullDocument.state"]}
    wakes = [
        {"ns.coll": "jobs", "operationType": "insert", "fullDocument.state": {"$in": _WOKEN_BY}},
        {"ns.coll": "jobs", "operationType": "update", "updateDescription.updatedFields.state": {"$in": _WOKEN_BY}},
        {"ns.coll": "jobs", "operationType": "update", "updateDescription.removedFields": "slots"},
        # Another tool has put a job there, or a document of such a tool has been taken over.
        {"ns.coll": "jobs", "operationType": "insert", "fullDocument.run": None},
        {"ns.coll": "jobs", "operationType": "update", "updateDescription.updatedFields.run": {"$exists": True}},
        {"ns.coll": "jobs", "operationType": "replace"},
        {"ns.coll": "config"},
    ]
    kept = {
        "ns.coll": 1,
        "documentKey._id": 1,
        "state": state,
        "queue": "$fullDocument.queue",
        "priority": "$fullDocument.priority",
        "external": {
            "$and": [{"$in": ["$operationType", ["insert", "replace"]]}, {"$lte": ["$fullDocument.run", None]}]
        },
        "room": {"$in": ["slots", {"$ifNull": ["$updateDescription.removedFields", []]}]},
    }
    return [{"$match": {"$or": wakes}}, {"$project": kept}]


def _event(change: dict[str, Any]) -> WakeupEvent:
    if change["ns"]["coll"] != "jobs":
        return WakeupEvent(kind="config")
    return WakeupEvent(
        kind="job",
        job_id=str(change["documentKey"]["_id"]),
        queue=typed(str, change.get("queue")),
        priority=typed(int, change.get("priority")),
        state=typed(str, change.get("state")),
        room=bool(change.get("room")),
        external=bool(change.get("external")),
    )
