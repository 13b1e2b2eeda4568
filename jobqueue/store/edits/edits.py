"""Follow changes of `data` and `meta` by any tool in the change stream, and derive the attributes of jobs anew.

The collection `streams` keeps the position of the followed changes, and a walk over all jobs where changes may have
been missed. Every process may go on from there. Two processes may do the same work without harm: a write is guarded by
the `meta` that was read, and the position only moves forward.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import decode
from bson.raw_bson import RawBSONDocument

from jobqueue.journal import get_logger
from jobqueue.store.documents import attributes
from jobqueue.store.documents.attributes import FIELD
from jobqueue.store.edits import edit_statements
from jobqueue.store.mongo.connections import StreamClient
from jobqueue.store.mongo.database import brief, guarded, is_passing, new_id
from jobqueue.store.mongo.driver import (
    LENIENT,
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    UpdateOne,
    timeout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)
MOST: Final = 1000
"""Changes, or jobs of a walk, of one step."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of jobs after which a step of a walk ends early."""
_FOLLOWED: Final = {"_id": "edits"}
_AWAIT_MS: Final = 20
_BATCH: Final = 100
_RESUMABLE: Final = "ResumableChangeStreamError"
_DRAIN_SECONDS: Final = 600.0
"""Seconds in which the server may filter the changes of a long pause."""
_RAW: Final = LENIENT.with_options(document_class=RawBSONDocument)


class EditsLostError(Exception):
    """Tell that the database does not know the changes since a position: any more, or ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPosition:
    """The id of a walk over all jobs, and the id of its last job."""

    id: str
    last: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EditProgress:
    """The stored progress of following the changes.

    Attributes:
        position: in the change stream, as it is stored, also if spoilt.
        walk: the unfinished walk.
        idle: seconds since the last progress of any process, by the server's time.
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
    """Finds changes of `data` and `meta`, and derives attributes from `meta`."""

    def __init__(self, database: Database) -> None:
        self._streams = database.collection("streams")
        self._jobs = database.collection("jobs")
        self.streams = StreamClient(database.url, database.name, "jobqueue-edits", 2)
        self._stream: Any = None
        self._stream_at: str | None = None

    @guarded
    async def progress(self) -> EditProgress:
        """Return the stored progress."""
        age = {"$cond": [{"$eq": [{"$type": "$at"}, "date"]}, {"$subtract": ["$$NOW", "$at"]}, None]}
        document = await self._streams.find_one(_FOLLOWED, {"position": 1, "walk": 1, "age": age})
        if document is None:
            return EditProgress()
        walk = document.get("walk")
        return EditProgress(
            position=document.get("position"),
            walk=ScanPosition(id=str(walk.get("id")), last=walk.get("last")) if isinstance(walk, dict) else None,
            idle=float("inf") if document["age"] is None else document["age"] / 1000,
        )

    @guarded
    async def begin(self, instead_of: Any) -> None:
        """Follow the changes from now on, and begin a walk over all jobs, unless the position has changed.

        Args:
            instead_of: the useless position; ``None`` if there is none.
        """
        present = await self._present()
        if present is None:
            return
        same = _FOLLOWED | {"position": {"$eq": instead_of}}
        fresh: Document = {"position": present, "walk": {"id": new_id(), "last": None}}
        literal = {name: {"$literal": value} for name, value in fresh.items()}
        # A duplicate key tells that another process was faster.
        with suppress(DuplicateKeyError):
            await self._streams.update_one(same, [{"$set": literal | {"at": "$$NOW"}}], upsert=True)

    @guarded
    async def next(self, position: Any) -> EditPage:
        """Return the next changes after a position.

        Raises:
            EditsLostError: the database does not know the changes since.
        """
        if not isinstance(position, str):
            raise EditsLostError("no position is kept yet: the database is new")
        is_known = position == self._stream_at
        try:
            ids, after = await self._read_on(position)
        except OperationFailure as error:
            if is_passing(error) or error.has_error_label(_RESUMABLE):
                raise
            raise EditsLostError(brief(error)) from error
        if after <= position and not ids and not is_known and await self._is_ahead(position):
            await self._end_stream()
            raise EditsLostError("the position lies ahead of the database")
        return EditPage(ids=tuple(ids), position=after, more=len(ids) >= MOST)

    async def _read_on(self, position: str) -> tuple[dict[Any, None], str]:
        """Return the ids of the next changes and the position after them; the stream stays open for the next call."""
        ids: dict[Any, None] = {}
        is_read = False
        try:
            with timeout(_DRAIN_SECONDS):
                if position != self._stream_at:
                    await self._end_stream()
                    self._stream = await (await self._watch(position)).__aenter__()
                while len(ids) < MOST:
                    change = await self._stream.try_next()
                    if not self._stream.alive:
                        raise EditsLostError("the stream has ended")
                    if change is None:
                        break
                    ids[change["documentKey"]["_id"]] = None
                token = self._stream.resume_token
            is_read = True
        finally:
            if not is_read:
                await self._end_stream()
        self._stream_at = position if token is None else str(token["_data"])
        return ids, self._stream_at

    async def close(self) -> None:
        """Close the stream and its connections."""
        await self._end_stream()
        await self.streams.close()

    async def _end_stream(self) -> None:
        stream, self._stream, self._stream_at = self._stream, None, None
        if stream is not None:
            with suppress(PyMongoError):
                await stream.close()

    @guarded
    async def advance(self, position: str) -> bool:
        """Store a position of the followed changes, unless a later one is stored; return true if it is stored."""
        earlier = _FOLLOWED | {"position": {"$lte": position}}
        update = [{"$set": {"position": {"$literal": position}, "at": "$$NOW"}}]
        return bool((await self._streams.update_one(earlier, update)).matched_count)

    @guarded
    async def derive(self, ids: Sequence[Any]) -> list[tuple[Any, str]]:
        """Derive the attributes of jobs anew; return the ids and queues of the present jobs."""
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
        """Derive the attributes of the next jobs of a walk; return its next position, or ``None`` at its end."""
        cursor = self._read(edit_statements.beyond(walk.last), sort=edit_statements.ORDER, limit=MOST)
        seen, is_all = await self._derive(cursor)
        is_over = is_all and len(seen) < MOST
        place = None if is_over else ScanPosition(id=walk.id, last=seen[-1][0])
        same = _FOLLOWED | {"walk.id": walk.id, "walk.last": {"$eq": walk.last}}
        moved: Document = {"$unset": {"walk": ""}} if place is None else {"$set": {"walk.last": place.last}}
        await self._streams.update_one(same, moved)
        return place

    def _read(self, query: Document, **options: Any) -> Any:
        """Return a cursor of jobs as raw BSON: any `meta` can be compared with itself."""
        raw = self._jobs.with_options(codec_options=_RAW)
        return raw.find(query, edit_statements.READ, **options).batch_size(_BATCH)

    async def _present(self) -> str | None:
        """Return the present position, if the server tells it."""
        with timeout(_DRAIN_SECONDS):
            async with await self._watch(None) as stream:
                await stream.try_next()
                return None if stream.resume_token is None else str(stream.resume_token["_data"])

    async def _is_ahead(self, position: str) -> bool:
        """Tell whether a position lies ahead of this database: it is one of another database."""
        present = await self._present()
        return present is not None and present < position

    async def _watch(self, position: str | None) -> Any:
        edits = edit_statements.edits()
        return await self.streams.watch_jobs(edits, position, max_await_time_ms=_AWAIT_MS, batch_size=MOST)

    async def _derive(self, cursor: Any) -> tuple[list[tuple[Any, str]], bool]:
        """Derive the attributes of the jobs of a cursor; return the jobs read, and whether these are all."""
        seen: list[tuple[Any, str]] = []
        updates: list[UpdateOne] = []
        size, is_all = 0, True
        async for document in cursor:
            seen.append((document["_id"], str(document.get("queue"))))
            updates += _updates(document)
            size += len(document.raw)
            if size > MOST_BYTES:
                is_all = False
                break
        try:
            if updates:
                await self._jobs.bulk_write(updates, ordered=False)
        except BulkWriteError as error:
            if error.details["writeConcernErrors"]:
                raise
            # A document of another tool that takes no attributes does not block the others.
            refused = error.details["writeErrors"]
            log.warning("attributes refused", jobs=len(refused), error=str(refused[0].get("errmsg"))[:200])
        return seen, is_all


def _updates(document: RawBSONDocument) -> list[UpdateOne]:
    """Return the update that gives a job the attributes of its `meta`, if it has others."""
    try:
        derived = attributes.derived(_decoded(document.get("meta")))
        if _decoded(document.get(FIELD)) == derived:
            return []
        return [UpdateOne(edit_statements.unchanged(document), {"$set": {FIELD: derived}})]
    except Exception:
        # An unforeseen document does not block the others.
        log.exception("attributes not derived", id=str(document.get("_id")))
        return []


def _decoded(value: Any) -> Any:
    """Return a value, an object decoded from raw BSON."""
    return decode(value.raw, LENIENT) if isinstance(value, RawBSONDocument) else value
