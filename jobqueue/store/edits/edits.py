"""Changes of `data` and `meta` by whatever tool: found in the change stream, and everything derived from them anew.

The collection `streams` keeps the position up to which all changes are followed, and a walk over all jobs where changes
may have been missed. Every process may go on from there. Work that two processes do is done twice and harms nothing: a
write is guarded by the `meta` that was read, and the position only moves forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import decode
from bson.raw_bson import RawBSONDocument

from jobqueue.journal import get_logger
from jobqueue.store.documents import attributes
from jobqueue.store.documents.attributes import FIELD
from jobqueue.store.edits import edit_statements
from jobqueue.store.mongo import connections
from jobqueue.store.mongo.database import brief, guarded, is_passing, new_id
from jobqueue.store.mongo.driver import (
    LENIENT,
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    UpdateOne,
    timeout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)
MOST: Final = 1000
"""Changes, or jobs of a walk, that are looked at in one step."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""A step of a walk ends early when the jobs that it has read take more."""
_ID: Final = "edits"
_AWAIT_MS: Final = 20
_BATCH: Final = 100
_RESUMABLE: Final = "ResumableChangeStreamError"
_DRAIN_SECONDS: Final = 600.0
"""How long the server may look through the changes of a long pause for those that are meant."""
_RAW: Final = LENIENT.with_options(document_class=RawBSONDocument)


class EditsLostError(Exception):
    """Tell that the database does not remember the changes since a position any more, or never knew the position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPosition:
    """A walk over all jobs: which walk it is, and the id of the last job that was looked at."""

    id: str
    last: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EditProgress:
    """How far the changes are followed.

    Attributes:
        position: in the change stream, as it is stored; whatever it is.
        walk: that is still to be ended.
        idle: seconds since a process has gone on, by the server's time.
    """

    position: Any = None
    walk: ScanPosition | None = None
    idle: float = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPage:
    """The next changes.

    Attributes:
        ids: of their jobs, each once.
        position: behind them.
        more: there may be more now.
    """

    ids: tuple[Any, ...]
    position: str
    more: bool


class EditStore:
    """Finds changes of `data` and `meta`, and derives from `meta` what jobs are searched by."""

    def __init__(self, database: Database) -> None:
        self._streams = database.collection("streams")
        self._jobs = database.collection("jobs")
        self.streams = connections.StreamClient(database.url, database.name, "jobqueue-edits", 2)

    @guarded
    async def progress(self) -> EditProgress:
        """Return how far the changes are followed."""
        age = {"$cond": [{"$eq": [{"$type": "$at"}, "date"]}, {"$subtract": ["$$NOW", "$at"]}, None]}
        found = await self._streams.find_one({"_id": _ID}, {"position": 1, "walk": 1, "age": age})
        if found is None:
            return EditProgress()
        idle = float("inf") if found["age"] is None else found["age"] / 1000
        return EditProgress(position=found.get("position"), walk=_walk(found.get("walk")), idle=idle)

    @guarded
    async def begin(self, instead_of: Any) -> None:
        """Follow the changes from now on, and walk over all jobs once; nothing happens if the position has changed.

        Args:
            instead_of: the position that is of no use; ``None`` if there is none.
        """
        present = await self._present()
        if present is None:
            return
        found = {"_id": _ID, "position": {"$eq": instead_of}}
        fresh: Document = {"position": present, "walk": {"id": new_id(), "last": None}}
        try:
            await self._streams.update_one(found, [{"$set": {**_literal(fresh), "at": "$$NOW"}}], upsert=True)
        except DuplicateKeyError:
            # Another process was faster.
            return

    @guarded
    async def next(self, position: Any) -> EditPage:
        """Return the next changes after a position.

        Raises:
            EditsLostError: the database does not know what has happened since.
        """
        if not isinstance(position, str):
            raise EditsLostError("there is no position")
        ids: dict[Any, None] = {}
        try:
            with timeout(_DRAIN_SECONDS):
                async with await self._watch(position) as stream:
                    while len(ids) < MOST:
                        change = await stream.try_next()
                        if not stream.alive:
                            raise EditsLostError("the stream has ended")
                        if change is None:
                            break
                        ids[change["documentKey"]["_id"]] = None
                    token = stream.resume_token
        except OperationFailure as error:
            if is_passing(error) or error.has_error_label(_RESUMABLE):
                raise
            raise EditsLostError(brief(error)) from error
        after = position if token is None else token["_data"]
        if after <= position and not ids and await self._is_ahead(position):
            raise EditsLostError("the position lies ahead of the database")
        return EditPage(ids=tuple(ids), position=after, more=len(ids) >= MOST)

    @guarded
    async def advance(self, position: str) -> None:
        """Note that all changes up to a position are followed, unless more are noted already."""
        found = {"_id": _ID, "position": {"$lte": position}}
        await self._streams.update_one(found, [{"$set": {"position": {"$literal": position}, "at": "$$NOW"}}])

    @guarded
    async def derive(self, ids: Sequence[Any]) -> list[tuple[Any, str]]:
        """Derive the attributes of jobs anew; return the ids and queues of those that are there."""
        left, there = dict.fromkeys(ids), []
        while left:
            seen, is_all = await self._derive(self._read(edit_statements.jobs(list(left))))
            there += seen
            if is_all:
                break
            for job_id, _ in seen:
                del left[job_id]
        return there

    @guarded
    async def step(self, walk: ScanPosition) -> ScanPosition | None:
        """Derive the attributes of the next jobs of a walk; return how far it is now, or ``None`` at its end."""
        cursor = self._read(edit_statements.beyond(walk.last), sort=edit_statements.ORDER, limit=MOST)
        seen, is_all = await self._derive(cursor)
        place = walk if is_all and len(seen) < MOST else ScanPosition(id=walk.id, last=seen[-1][0])
        is_over = place is walk
        found = {"_id": _ID, "walk.id": walk.id, "walk.last": {"$eq": walk.last}}
        moved: Document = {"$unset": {"walk": ""}} if is_over else {"$set": {"walk.last": place.last}}
        await self._streams.update_one(found, moved)
        return None if is_over else place

    def _read(self, found: Document, **more: Any) -> Any:
        """Return a cursor of jobs byte by byte, as they are stored: any `meta` can be compared with itself."""
        raw = self._jobs.with_options(codec_options=_RAW)
        return raw.find(found, edit_statements.READ, **more).batch_size(_BATCH)

    async def _present(self) -> str | None:
        """Return the present position, if the server tells it."""
        with timeout(_DRAIN_SECONDS):
            async with await self._watch(None) as stream:
                await stream.try_next()
                return None if stream.resume_token is None else str(stream.resume_token["_data"])

    async def _is_ahead(self, position: str) -> bool:
        """Return true for a position that this database has not come to: another one has told it."""
        present = await self._present()
        return present is not None and present < position

    async def _watch(self, position: str | None) -> Any:
        start: Document = {} if position is None else {"resume_after": {"_data": position}}
        return await self.streams.watch(
            edit_statements.edits(), collection="jobs", max_await_time_ms=_AWAIT_MS, batch_size=MOST, **start
        )

    async def _derive(self, cursor: Any) -> tuple[list[tuple[Any, str]], bool]:
        """Derive the attributes of the jobs of a cursor; return what was read, and if that is all."""
        seen: list[tuple[Any, str]] = []
        updates: list[UpdateOne] = []
        size, is_all = 0, True
        async for one in cursor:
            seen.append((one["_id"], str(one.get("queue"))))
            updates += _updates(one)
            size += len(one.raw)
            if size > MOST_BYTES:
                is_all = False
                break
        await self._write(updates)
        return seen, is_all

    async def _write(self, updates: list[UpdateOne]) -> None:
        try:
            if updates:
                await self._jobs.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            if error.details["writeConcernErrors"]:
                raise
            # A document that takes no attributes, as another tool has left it, holds up no others.
            refused = error.details["writeErrors"]
            log.warning("attributes refused", jobs=len(refused), error=str(refused[0].get("errmsg"))[:200])


def _updates(document: RawBSONDocument) -> list[UpdateOne]:
    """Return the update that gives a job the attributes of its `meta`, if it has others."""
    try:
        wanted = attributes.derived(_decoded(document.get("meta")))
        if _decoded(document.get(FIELD)) == wanted:
            return []
        return [UpdateOne(edit_statements.unchanged(document), {"$set": {FIELD: wanted}})]
    except Exception:
        # A document that nobody foresaw holds up no others.
        log.exception("attributes cannot be derived", id=str(document.get("_id")))
        return []


def _decoded(value: Any) -> Any:
    """Return a value that was read byte by byte in the form in which it is understood."""
    if isinstance(value, RawBSONDocument):
        return decode(value.raw, LENIENT)
    return value


def _literal(values: Document) -> Document:
    return {name: {"$literal": value} for name, value in values.items()}


def _walk(given: Any) -> ScanPosition | None:
    if not isinstance(given, dict):
        return None
    return ScanPosition(id=str(given.get("id")), last=given.get("last"))
