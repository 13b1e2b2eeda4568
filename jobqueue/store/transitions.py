"""Making transitions of jobs happen, several in one round trip where they come together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from jobqueue.domain.state import DEPENDENTS, FINAL, with_dependents
from jobqueue.store import statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motor.motor_asyncio import AsyncIOMotorCollection

    from jobqueue.domain.state import Transition
    from jobqueue.store.statements import Document, Now


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A transition of one job."""

    job_id: str
    queue: str
    transition: Transition


class Transitions:
    """Applies transitions, each by one guarded update."""

    def __init__(self, collection: AsyncIOMotorCollection[Any], now: Callable[[], Now]) -> None:
        self._collection = collection
        self._now = now

    async def apply(self, changes: Sequence[Change]) -> list[Transition | BaseException | None]:
        """Make transitions happen whose guards hold.

        Returns:
            For each what happened, which may have more in its outbox than was asked for; ``None`` if nothing did; or
            what went wrong.
        """
        if len(changes) > 1:
            try:
                written = await self._collection.bulk_write(
                    [UpdateOne(*self._update(one)) for one in changes], ordered=False
                )
            except BulkWriteError:
                pass
            else:
                if written.matched_count == len(changes):
                    return [one.transition for one in changes]
        results: list[Transition | BaseException | None] = []
        for one in changes:
            try:
                results.append(await self._apply_one(one))
            except Exception as error:  # noqa: BLE001 - each call of the batch gets its own error
                results.append(error)
        return results

    def _update(self, change: Change) -> tuple[Document, Document | list[Document]]:
        return (
            statements.guard(change.job_id, change.queue, change.transition, self._now()),
            statements.applied(change.transition, self._now()),
        )

    async def _apply_one(self, change: Change) -> Transition | None:
        wanted = change.transition
        if (await self._collection.update_one(*self._update(change))).matched_count:
            return wanted
        if await self._has_dependents(change):
            wanted = replace(wanted, outbox=with_dependents(wanted.outbox))
            if (await self._collection.update_one(*self._update(replace(change, transition=wanted)))).matched_count:
                return wanted
        return wanted if await self._is_applied(change) else None

    async def _has_dependents(self, change: Change) -> bool:
        """Tell whether a job has come to be depended on, and its end did not reckon with that."""
        transition = change.transition
        if transition.target not in FINAL or DEPENDENTS in transition.outbox:
            return False
        found = await self._collection.find_one({"_id": ObjectId(change.job_id), "dependents": True}, {"_id": 1})
        return found is not None

    async def _is_applied(self, change: Change) -> bool:
        """Tell whether the change is there already: its reply was lost, or it was one of a batch."""
        transition = change.transition
        if transition.token is None or transition.expired_only:
            return False
        entry = {"$elemMatch": {"token": transition.token, "outcome": transition.outcome.value}}
        found = await self._collection.find_one({"_id": ObjectId(change.job_id), "history": entry}, {"_id": 1})
        return found is not None
