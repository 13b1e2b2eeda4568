"""Add jobs to a batch, all or none, without locking documents that others need.

An addition takes four steps:

* It notes itself in the batch, under a lease.
* It makes the jobs that it blocks wait for the new ones.
* One transaction inserts the new jobs and a document with the decision.
* It takes its note off the batch.

The transaction writes new documents only: a process killed in it blocks neither the batch nor its jobs. Another process
ends the addition of a dead one. It inserts the document with the decision itself: so the transaction either has been
committed, or never can be.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import (
    BusyError,
    ConflictError,
    DatabaseUnavailableError,
    InvalidInputError,
    NotFoundError,
    StaleTokenError,
)
from jobqueue.domain.workflow.batch import OPEN
from jobqueue.journal import get_logger
from jobqueue.store.mongo.database import exists, guarded
from jobqueue.store.mongo.driver import (
    AsyncClientSession,
    BulkWriteError,
    DuplicateKeyError,
    PyMongoError,
    UpdateOne,
    session_id,
    timeout,
)
from jobqueue.store.workflow import addition_statements, dependency_statements
from jobqueue.store.workflow.addition_statements import Addition
from jobqueue.store.workflow.batch_statements import ADDING, BY_STATE, REQUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)
SWEEP_SECONDS: Final = 2.0
"""Seconds between two sweeps for additions of dead processes."""
_WAIT_SECONDS: Final = 4.0
_PAUSES: Final = (0.01, 0.3)
_MOMENT: Final = 3.0
_AT_ONCE: Final = 100


class RefTakenError(ConflictError):
    """Say that another job of a batch has a ref."""


class AdditionStore:
    """Adds jobs to batches, and ends the additions of dead processes."""

    def __init__(self, database: Database, jobs: JobStore) -> None:
        self.decisions = database.collection("additions")
        self._batches = database.collection("batches")
        self._jobs = jobs.collection
        self._job_store = jobs
        self._database = database

    @guarded
    async def add(
        self,
        batch_id: str,
        members: Sequence[Document],
        blocked: Mapping[str, Sequence[str]],
        *,
        first: str,
        count: int,
        token: str | None,
        refs: Mapping[str, str],
    ) -> None:
        """Add jobs to an open batch, all or none.

        Args:
            batch_id: the batch.
            members: the documents of the jobs; adding the same ones again changes nothing.
            blocked: by the id of a waiting job of the batch, the new jobs that it is to wait for as well.
            first: the id that those of the jobs follow from.
            count: how many ids follow from it, those of jobs included that are not among these.
            token: the claim of a running job of the batch: then the batch may be sealed.
            refs: of present jobs, by their ids, for messages.

        Raises:
            RefTakenError: another job of the batch has one of the refs.
            ConflictError: the batch is sealed or finished, or a blocked job does not wait any more.
            StaleTokenError: no running job of the batch has this token.
            InvalidInputError: a job would wait for itself.
            NotFoundError: the batch does not exist.
            BusyError: another addition, which excludes this one, does not end.
            DatabaseUnavailableError: it took longer than its lease and was dropped, or as for any call.
        """
        addition = Addition(
            id=ObjectId(),
            first=first,
            count=count,
            refs=tuple(str(member["ref"]) for member in members if "ref" in member),
            blocks=tuple(ObjectId(job_id) for job_id in blocked),
        )
        async with await self._database.start_session() as session:
            await self._reserve(batch_id, addition, session, sealed_too=token is not None)
            try:
                await self._check(batch_id, members, blocked, refs)
                await self._block(batch_id, addition, blocked, refs)
                await self._insert(batch_id, addition, members, token, session)
            except Exception as error:
                if await self._try_to_end(batch_id, addition, is_done=False):
                    # Only the answer was lost.
                    return
                if not isinstance(error, BulkWriteError):
                    raise
                await self._job_store.raise_conflict(error, members)
            else:
                await self._try_to_end(batch_id, addition, is_done=True)

    @guarded
    async def run_once(self) -> None:
        """End the additions that have taken longer than their lease, each alone."""
        overdue, late = addition_statements.overdue(), addition_statements.late_ones()
        for batch in await self._batches.find(overdue, late, hint="outbox").limit(_AT_ONCE).to_list(None):
            await self._end_all(batch)

    @guarded
    async def is_run_by(self, batch_id: str, token: str, *, session: AsyncClientSession | None = None) -> bool:
        """Tell whether a running job of a batch has the claim with this token."""
        query = {"batchId": ObjectId(batch_id), "state": State.PROCESSING.value, "claim.token": token}
        return await exists(self._jobs, query, hint=BY_STATE, session=session)

    async def _reserve(
        self, batch_id: str, addition: Addition, session: AsyncClientSession, *, sealed_too: bool
    ) -> None:
        """Note an addition in its batch, as soon as no other one excludes it."""
        until, pause = time.monotonic() + _WAIT_SECONDS, _PAUSES[0]
        query = addition_statements.has_room(batch_id, addition, sealed_too=sealed_too)
        update = addition_statements.reserve(addition, session_id(session))
        shown = addition_statements.late_ones(addition.first) | dict.fromkeys(("state", "sealed", "outbox"), 1)
        while not (await self._batches.update_one(query, update)).matched_count:
            batch = await self._batches.find_one({"_id": ObjectId(batch_id)}, shown)
            if batch is None:
                raise NotFoundError("batch", batch_id)
            if refusal := _refusal(batch, sealed_too=sealed_too):
                raise ConflictError(f"batch {batch_id} is {refusal}: no jobs can be added")
            await self._end_all(batch)
            if time.monotonic() > until:
                raise BusyError(f"other jobs are being added to batch {batch_id}")
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(_PAUSES[1], pause * 2)

    async def _check(
        self,
        batch_id: str,
        members: Sequence[Document],
        blocked: Mapping[str, Sequence[str]],
        refs: Mapping[str, str],
    ) -> None:
        """Check that the refs are free and no job would wait for itself; no other process changes that meanwhile."""
        new_refs = [member["ref"] for member in members if "ref" in member]
        if new_refs:
            others = {"$nin": [member["_id"] for member in members]}
            taken = {"batchId": ObjectId(batch_id), "ref": {"$in": new_refs}, "_id": others}
            job = await self._jobs.find_one(taken, {"ref": 1}, hint="ref")
            if job is not None:
                raise RefTakenError(f"the ref {job['ref']} is that of another job of the batch")
        depends_on = {member["_id"]: member["dependsOn"] for member in members}
        for job_id, blocker_ids in blocked.items():
            blockers = {ObjectId(blocker) for blocker in blocker_ids}
            if await self._any_waits_for(blockers, ObjectId(job_id), depends_on):
                place = next(place for place, member in enumerate(members) if member["_id"] in blockers)
                name = refs.get(job_id, job_id)
                raise InvalidInputError({f"jobs.{place}.blocks": [f"would make job {name} wait for itself"]})

    async def _any_waits_for(
        self, waiting: set[ObjectId], job_id: ObjectId, new: Mapping[ObjectId, Sequence[ObjectId]]
    ) -> bool:
        """Tell whether one of some jobs waits for a job, directly or by way of others.

        Args:
            waiting: the jobs to begin with.
            job_id: the job.
            new: the dependencies of jobs that are not stored yet.
        """
        seen: set[ObjectId] = set()
        while waiting and job_id not in waiting:
            seen |= waiting
            reached = {before for member in waiting & new.keys() for before in new[member]}
            if stored := list(waiting - new.keys()):
                # A job that has succeeded waits for nothing, also when its batch is requeued.
                query = {"_id": {"$in": stored}, "state": {"$ne": State.SUCCESS.value}}
                async for job in self._jobs.find(query, {"dependsOn": 1}):
                    reached.update(job.get("dependsOn") or ())
            waiting = reached - seen
        return job_id in waiting

    async def _block(
        self, batch_id: str, addition: Addition, blocked: Mapping[str, Sequence[str]], refs: Mapping[str, str]
    ) -> None:
        """Make present jobs wait for the new ones, before these are stored."""
        if not blocked:
            return
        writes = [
            UpdateOne(
                addition_statements.blockable(batch_id, ObjectId(job_id)),
                addition_statements.block(addition.id, [ObjectId(blocker) for blocker in blockers]),
            )
            for job_id, blockers in blocked.items()
        ]
        if (await self._jobs.bulk_write(writes, ordered=False)).matched_count == len(writes):
            return
        there = {job["_id"] async for job in self._jobs.find(addition_statements.blocked(addition), {"_id": 1})}
        job_id = str(next((job_id for job_id in addition.blocks if job_id not in there), addition.blocks[0]))
        raise ConflictError(f"job {refs.get(job_id, job_id)} is no job of the batch that waits for others")

    async def _insert(
        self,
        batch_id: str,
        addition: Addition,
        members: Sequence[Document],
        token: str | None,
        session: AsyncClientSession,
    ) -> None:
        """Insert the new jobs and the decision on their addition."""
        decision = {"_id": addition.id, "at": await self._database.clock.now()}

        async def insert(session: AsyncClientSession) -> None:
            # Checked in the transaction: a worker that has lost the claim meanwhile adds nothing.
            if token is not None and not await self.is_run_by(batch_id, token, session=session):
                raise StaleTokenError(batch_id, "a batch without such a running job")
            await self.decisions.insert_one(decision, session=session)
            await self._jobs.insert_many(members, session=session)

        try:
            await self._database.in_transaction(insert, session=session)
        except DuplicateKeyError as error:
            late = f"nothing was added: it took longer than {addition_statements.LEASE_SECONDS:g} seconds"
            raise DatabaseUnavailableError(late) from error

    async def _end_all(self, batch: Mapping[str, Any]) -> None:
        """End the listed additions of a batch: no process may carry them on any more."""
        for entry in batch.get(ADDING) or ():
            await self._database.kill_session(entry.get("session"))
            await self._try_to_end(str(batch["_id"]), addition_statements.addition_of(entry), is_done=False)

    async def _try_to_end(self, batch_id: str, addition: Addition, *, is_done: bool) -> bool:
        """End an addition if that is possible at once; otherwise the next sweep ends it.

        Args:
            batch_id: the batch.
            addition: the addition.
            is_done: its jobs are known to be stored.

        Returns:
            True if they are known to be stored now.
        """
        try:
            with timeout(_MOMENT):
                is_done = is_done or await self._is_committed(addition)
                if not is_done:
                    await self._undo(addition)
                mine = {"_id": ObjectId(batch_id), f"{ADDING}._id": addition.id}
                await self._batches.update_one(mine, addition_statements.clear(addition.id))
        except PyMongoError as error:
            log.warning("addition left open", batch_id=batch_id, error=str(error)[:200])
        return is_done

    async def _is_committed(self, addition: Addition) -> bool:
        """Tell whether the jobs of an addition were inserted; if they were not, they never will be."""
        dropped = {"_id": addition.id, "at": await self._database.clock.now(), "dropped": True}
        try:
            await self.decisions.insert_one(dropped)
        except DuplicateKeyError:
            decision = await self.decisions.find_one({"_id": addition.id})
            return decision is not None and not decision.get("dropped")
        return False

    async def _undo(self, addition: Addition) -> None:
        """End the wait for jobs that were not added, unless an earlier request has added the same ones."""
        if not addition.blocks or await exists(self._jobs, {"_id": {"$in": addition.job_ids}}):
            return
        blocked = addition_statements.blocked(addition)
        waiting = blocked | {"state": State.DELAYED.value, "waitsFor": {"$exists": True}}
        await self._jobs.update_many(
            waiting, dependency_statements.release(addition.job_ids, self._database.clock.present)
        )
        await self._jobs.update_many(blocked, addition_statements.forget(addition))


def _refusal(batch: Mapping[str, Any], *, sealed_too: bool) -> str | None:
    """Say why a batch takes no jobs, by the rules of `batch_statements.accepts`."""
    if batch.get("state") != OPEN:
        return "finished"
    if REQUEUE in (batch.get("outbox") or ()):
        return "being requeued"
    return "sealed" if batch.get("sealed") and not sealed_too else None
