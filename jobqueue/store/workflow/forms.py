"""Forms of the dashboard in the `idempotency` collection: each is carried out once, whatever server it reaches.

The record of a form is there before its act. A server that dies in between leaves a record without an outcome, so that
nobody takes the form for done, and no server carries it out a second time unasked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from jobqueue.store.mongo.database import Database

BUSY: Final = timedelta(seconds=10)
"""The time after which a form without an outcome counts as one that a dead server has left; servers renew it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRecord:
    """The state of a form.

    Attributes:
        holder: the mark of the request that carries the form out.
        to: the page that followed, once the form is done; else ``None``.
        was_shown: the outcome was shown in place of a page that follows, as it is shown only once.
        is_busy: a server carries the form out.
        is_new: the record was made, or taken over, just now by who asks.
    """

    holder: str
    to: str | None = None
    was_shown: bool = False
    is_busy: bool = False
    is_new: bool = False


class FormStore:
    """Remembers forms; the server deletes them after a day."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("idempotency")

    @guarded
    async def find(self, key: str) -> FormRecord | None:
        """Return the record of a form; ``None`` if it is new."""
        document = await self.collection.find_one({"_id": key})
        return None if document is None else await self._record(document)

    @guarded
    async def begin(self, key: str) -> FormRecord:
        """Return the record of a form, which is that of a new holder if the form is new."""
        holder = uuid4().hex
        while True:
            now = await self._clock.now()
            document = {"_id": key, "holder": holder, "at": now, "busyTil": now + BUSY}
            try:
                await self.collection.insert_one(document)
            except DuplicateKeyError:
                # A lost reply looks the same: then the holder is our own.
                if (record := await self.find(key)) is not None:
                    return FormRecord(holder=holder, is_new=True) if record.holder == holder else record
            else:
                return FormRecord(holder=holder, is_new=True)

    @guarded
    async def take_over(self, key: str, record: FormRecord) -> FormRecord | None:
        """Become the holder of a form that its holder has left; ``None`` if another request is faster."""
        holder, now = uuid4().hex, await self._clock.now()
        left = {"_id": key, "holder": record.holder, "to": None}
        taken = await self.collection.update_one(left, {"$set": {"holder": holder, "busyTil": now + BUSY}})
        return FormRecord(holder=holder, is_new=True) if taken.modified_count else None

    @guarded
    async def keep(self, key: str, holder: str) -> None:
        """Note that the holder still carries a form out."""
        now = await self._clock.now()
        await self.collection.update_one({"_id": key, "holder": holder, "to": None}, {"$set": {"busyTil": now + BUSY}})

    @guarded
    async def end(self, key: str, holder: str, to: str, *, was_shown: bool) -> None:
        """Note the page that followed."""
        outcome = {"$set": {"to": to, "wasShown": was_shown}, "$unset": {"busyTil": ""}}
        await self.collection.update_one({"_id": key, "holder": holder}, outcome)

    @guarded
    async def let_go(self, key: str, holder: str) -> None:
        """Forget a form that was refused: it may be sent again."""
        await self.collection.delete_one({"_id": key, "holder": holder, "to": None})

    @guarded
    async def leave(self, key: str, holder: str) -> None:
        """Note that nobody knows how a form has ended, without the time that a dead server is given."""
        await self.collection.update_one({"_id": key, "holder": holder, "to": None}, {"$set": {"busyTil": EPOCH}})

    async def _record(self, document: Mapping[str, Any]) -> FormRecord:
        now, until = await self._clock.now(), document.get("busyTil")
        # An end further ahead is from before the server's clock was set back.
        is_busy = until is not None and now < until <= now + 2 * BUSY
        return FormRecord(
            holder=document.get("holder", ""),
            to=document.get("to"),
            was_shown=bool(document.get("wasShown")),
            is_busy=is_busy,
        )
