"""Apply transitions of jobs, several in one round trip if they come together."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL, JobStanding
from jobqueue.domain.jobs.transitions import DEPENDENTS, with_dependents
from jobqueue.journal import get_logger
from jobqueue.store.documents import documents, joint_statements, statements
from jobqueue.store.jobs.editions import both
from jobqueue.store.mongo.database import brief, is_passing
from jobqueue.store.mongo.driver import (
    AutoReconnect,
    BulkWriteError,
    OperationFailure,
    PyMongoError,
    ReturnDocument,
    ServerSelectionTimeoutError,
    UpdateMany,
    UpdateOne,
)
from jobqueue.store.mongo.odd_values import date_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.mongo.driver import AsyncCollection

log = get_logger(__name__)
_MARK: Final = "mark"
_BAD_VALUE: Final = 2
_LISTS: Final = ("outbox", statements.OPERATIONS)
_STANDING: Final = {"state": 1, "delayTil": 1}
Update = tuple["Document", "Document | list[Document]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTransition:
    """A transition of one job; ``same`` is a further filter of its document."""

    job_id: str
    queue: str
    transition: Transition
    same: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedTransition:
    """A transition that has happened.

    Attributes:
        outbox: that of the `Transition`, perhaps with more notes.
        is_new: ``False`` for a report that an earlier call has recorded.
        standing: the state of the job, where the write tells it.
    """

    outbox: tuple[str, ...]
    is_new: bool = True
    standing: JobStanding | None = None


class Transitions:
    """Applies transitions, each by one guarded update."""

    def __init__(self, collection: AsyncCollection[Any], clock: ServerClock) -> None:
        self._collection = collection
        self._clock = clock

    async def apply(self, changes: Sequence[JobTransition]) -> list[AppliedTransition | BaseException | None]:
        """Apply the transitions whose guards hold.

        Returns:
            For each transition its application, an error, or ``None`` if its guard does not hold.
        """
        done = await self._together(changes) if len(changes) > 1 else [False]
        results: list[AppliedTransition | BaseException | None] = []
        for change, is_done in zip(changes, done, strict=True):
            try:
                results.append(_grouped(change.transition) if is_done else await self._apply_one(change))
            except Exception as error:  # noqa: BLE001 - each call of the batch gets its own error
                results.append(error)
        return results

    async def _together(self, changes: Sequence[JobTransition]) -> list[bool]:
        """Write changes in one round trip; return for each whether it was written.

        The server only counts the writes. So all changes of a round trip leave its mark in their jobs. A lower count is
        resolved by the marks: no other field tells a kill of a waiting job, or the end of a lease, from another
        caller's. A second change of a job has to wait for its own round trip.
        """
        mark = secrets.token_hex(6)
        first = _first_of_each(changes)
        try:
            matched = await self._write_all([changes[index] for index in first], mark)
        except Exception as error:
            if not _is_of_one(error):
                raise
        else:
            if matched == len(changes):
                return [True] * len(changes)
        marked = {"_id": {"$in": [ObjectId(change.job_id) for change in changes]}, _MARK: mark}
        seen = {str(document["_id"]) async for document in self._collection.find(marked, {"_id": 1})}
        return [index in first and change.job_id in seen for index, change in enumerate(changes)]

    async def _write_all(self, changes: Sequence[JobTransition], mark: str) -> int:
        """Write changes of different jobs, equal ends in one update; return the number of the written ones.

        The driver repeats no write of many documents after a lost reply. Then each change is written alone: the guard
        of one that was written does not hold any more.
        """
        groups = _alike(changes)
        if any(len(group) > 1 for group in groups):
            writes = [
                UpdateOne(*self._update(group[0], mark)) if len(group) == 1 else UpdateMany(*self._joint(group, mark))
                for group in groups
            ]
            try:
                return (await self._collection.bulk_write(writes, ordered=False)).matched_count
            except ServerSelectionTimeoutError:
                raise
            except AutoReconnect as error:
                log.info("outcomes written again", jobs=len(changes), error=brief(error))
        alone = [UpdateOne(*self._update(change, mark)) for change in changes]
        return (await self._collection.bulk_write(alone, ordered=False)).matched_count

    def _joint(self, group: Sequence[JobTransition], mark: str) -> tuple[Document, Document]:
        ids, ends = [change.job_id for change in group], [change.transition for change in group]
        update = joint_statements.update(ends, self._clock.present)
        update["$set"][_MARK] = mark
        return joint_statements.guard(ids, group[0].queue, ends, self._clock.present), update

    def _update(self, change: JobTransition, mark: str | None = None) -> Update:
        transition, now = change.transition, self._clock.present
        update = statements.applied(transition, now)
        if mark is not None:
            (update[0] if isinstance(update, list) else update)["$set"][_MARK] = mark
        guard = statements.guard(change.job_id, change.queue, transition, now)
        return both(guard, change.same), update

    async def _apply_one(self, change: JobTransition) -> AppliedTransition | None:
        transition = change.transition
        if standing := await self._write(change):
            return AppliedTransition(outbox=transition.outbox, standing=standing)
        if await self._has_dependents(change):
            transition = replace(transition, outbox=with_dependents(transition.outbox))
            if standing := await self._write(replace(change, transition=transition)):
                return AppliedTransition(outbox=transition.outbox, standing=standing)
        return AppliedTransition(outbox=transition.outbox, is_new=False) if await self._is_applied(change) else None

    async def _write(self, change: JobTransition) -> JobStanding | None:
        try:
            return await self._update_one(change)
        except OperationFailure as error:
            if error.code != _BAD_VALUE or not await self._mend_lists(change):
                raise
            return await self._update_one(change)

    async def _update_one(self, change: JobTransition) -> JobStanding | None:
        """Write a change; return the state of the job then, or ``None`` if the guard does not hold."""
        guard, update = self._update(change)
        if not isinstance(update, list):
            written = await self._collection.update_one(guard, update)
            return JobStanding(state=change.transition.target) if written.matched_count else None
        # The server computes the dates of a pipeline, and a signal that is there may end a wait at once.
        after = await self._collection.find_one_and_update(
            guard, update, projection=_STANDING, return_document=ReturnDocument.AFTER
        )
        if after is None:
            return None
        due = date_or_none(after.get("delayTil"))
        return JobStanding(state=documents.state(after.get("state")), delay_til=due)

    async def _mend_lists(self, change: JobTransition) -> bool:
        """Remove lists that another tool has spoilt: no entry could be added to them."""
        mended = 0
        for name in _LISTS:
            spoilt = {"_id": ObjectId(change.job_id), name: {"$exists": True, "$not": {"$type": "array"}}}
            mended += (await self._collection.update_one(spoilt, {"$unset": {name: ""}})).modified_count
        return bool(mended)

    async def _has_dependents(self, change: JobTransition) -> bool:
        """Return True if a job has dependents that its end does not know."""
        transition = change.transition
        if transition.target not in FINAL or DEPENDENTS in transition.outbox:
            return False
        return await self._exists({"_id": ObjectId(change.job_id), "dependents": True})

    async def _is_applied(self, change: JobTransition) -> bool:
        """Return True if an earlier call has recorded the same report of the same attempt."""
        transition = change.transition
        if transition.token is None or transition.expired_only:
            return False
        entry = {"$elemMatch": {"token": transition.token, "outcome": transition.outcome.value}}
        return await self._exists({"_id": ObjectId(change.job_id), "history": entry})

    async def _exists(self, query: Document) -> bool:
        return await self._collection.find_one(query, {"_id": 1}) is not None


def _first_of_each(changes: Sequence[JobTransition]) -> list[int]:
    """Return the positions of the changes that are the first of their job."""
    first: dict[str, int] = {}
    for index, change in enumerate(changes):
        first.setdefault(change.job_id, index)
    return list(first.values())


def _alike(changes: Sequence[JobTransition]) -> list[list[JobTransition]]:
    """Return changes in groups of equal ends of attempts; any other change is a group of its own."""
    groups: dict[object, list[JobTransition]] = {}
    for change in changes:
        key = None if change.same is not None else joint_statements.likeness(change.queue, change.transition)
        groups.setdefault(change.job_id if key is None else key, []).append(change)
    return list(groups.values())


def _grouped(transition: Transition) -> AppliedTransition:
    """Return a transition that was written together with others: the reply tells nothing of a single job."""
    is_timed = transition.delay is not None or transition.due is not None or transition.wait is not None
    # Only a job that was not running may have kept a due date.
    is_known = transition.token is not None and not is_timed
    standing = JobStanding(state=transition.target) if is_known else None
    return AppliedTransition(outbox=transition.outbox, standing=standing)


def _is_of_one(error: Exception) -> bool:
    """Return True if an error of several writes may come from one of them, which must not spoil the others."""
    if isinstance(error, BulkWriteError):
        # Without replication a look at the marks might miss a write.
        return not error.details["writeConcernErrors"]
    if not isinstance(error, PyMongoError):
        return True
    return isinstance(error, OperationFailure) and not is_passing(error)
