"""Turns that one process at a time has, kept in the collection `streams`, a document a turn.

A turn ends at a date of the server's clock. So another process takes over from a dead one. An end that lies further
ahead than the turn is long counts as over: the server's clock was set back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.store.mongo.clock import SERVER_NOW, is_over
from jobqueue.store.mongo.database import guarded, new_id
from jobqueue.store.mongo.driver import DuplicateKeyError, ReturnDocument

if TYPE_CHECKING:
    from jobqueue.store.mongo.database import Database

_MILLISECONDS: Final = 1000
_UNKNOWN_MS: Final = 3_600_000
"""The longest pause before the next turn, where the document does not tell its length."""


class Turn:
    """A turn of one of several processes.

    Args:
        database: the database.
        name: of the turn.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._streams = database.collection("streams")
        self._name = name

    @guarded
    async def take(self, seconds: float, mark: str | None = None) -> str | None:
        """Take the turn, or keep it under its mark; return the mark, or ``None`` if another process has the turn.

        Args:
            seconds: until the turn ends by itself.
            mark: of the present turn, to keep it.
        """
        mark, held = mark or new_id(), mark
        length: Any = {"$ifNull": ["$length", _UNKNOWN_MS]}
        is_free: Any = {"$or": [{"$not": [{"$gt": ["$until", None]}]}, is_over("$until", length)]}
        if held is not None:
            is_free = {"$or": [{"$eq": ["$by", held]}, is_free]}
        taken = {"by": mark} | _ending(seconds)
        update = [{"$set": {name: {"$cond": [is_free, value, f"${name}"]} for name, value in taken.items()}}]
        try:
            turn = await self._streams.find_one_and_update(
                {"_id": self._name}, update, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            # Another process has taken the first turn of all at the same moment.
            return None
        return mark if turn["by"] == mark else None

    @guarded
    async def end(self, mark: str, pause: float) -> None:
        """End a turn; the next one may begin after a pause in seconds."""
        await self._streams.update_one({"_id": self._name, "by": mark}, [{"$set": _ending(pause)}])


def _ending(seconds: float) -> dict[str, Any]:
    length = round(seconds * _MILLISECONDS)
    return {"until": {"$add": [SERVER_NOW, length]}, "length": length}
