"""Adding jobs to a batch, all or none, without locking what others need.

The addition is noted in the batch first, under a lease. Then the jobs that are to wait for new ones are told so. Then
one transaction inserts the new jobs and a document with the decision. Then the note goes. The transaction writes new
documents only: a process that is killed in it keeps nobody from the batch or from its jobs.

Another process ends what a dead one has begun. It inserts the document with the decision itself: so the transaction
either has been committed, or never can be.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.errors import (
    BusyError,
    ConflictError,
    DatabaseUnavailableError,
    InvalidInputError,
    NotFoundError,
    StaleTokenError,
)
from jobqueue.domain.jobs.states import State
from jobqueue.domain.workflow.batch import OPEN
from jobqueue.journal import get_logger
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import (
    AsyncClientSession,
    BulkWriteError,
    DuplicateKeyError,
    PyMongoError,
    UpdateOne,
    session_id,
    timeout,
)
from jobqueue.store.workflow import addition_statements
from jobqueue.store.workflow.addition_statements import Addition
from jobqueue.store.workflow.batch_statements import ADDING
from jobqueue.store.workflow.cycles import leads_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.mongo.clock import Now
    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)
SWEEP_SECONDS: Final = 2.0
"""Seconds between two looks for additions that a dead process has begun."""
_BY_STATE: Final = "batch"
_WAIT_SECONDS: Final = 4.0
_PAUSES: Final = (0.01, 0.3)
_MOMENT: Final = 3.0
_AT_ONCE: Final = 100


class RefTakenError(ConflictError):
    """Say that another job of a batch has a ref."""


class AdditionStore:
    """Adds jobs to batches, and ends what dead processes have begun to add."""

    def __init__(self, database: Database, jobs: JobStore, now: Now = SERVER_NOW) -> None:
        self.now = now
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
        """Add jobs to a batch that is open, all or none.

        Args:
            batch_id: which one.
            members: the documents of the jobs; adding the same ones again changes nothing.
            blocked: by the id of a waiting job of the batch, the new jobs that it is to wait for as well.
            first: the id that those of the jobs follow from.
            count: how many ids follow from it, those of jobs included that are not among these.
            token: the claim of a running job of the batch: then it may be sealed.
            refs: of present jobs, by their ids, for messages.

        Raises:
            RefTakenError: another job of the batch has one of the refs.
            ConflictError: the batch is sealed or finished, or a job that is to wait does not wait any more.
            StaleTokenError: no running job of the batch has this token.
            InvalidInputError: a job would wait for itself.
            NotFoundError: there is no such batch.
            BusyError: another addition, which excludes this one, does not end.
            DatabaseUnavailableError: it took longer than its lease and was dropped, or as for any call.
        """
        one = Addition(
            id=ObjectId(),
            first=first,
            count=count,
            refs=tuple(str(member["ref"]) for member in members if "ref" in member),
            blocks=tuple(ObjectId(job_id) for job_id in blocked),
        )
        async with await self._database.start_session() as session:
            await self._reserve(batch_id, one, session, sealed_too=token is not None)
            try:
                await self._check(batch_id, members, blocked, refs)
                await self._hold(batch_id, one, blocked, refs)
                await self._insert(batch_id, one, members, token, session)
            except Exception as error:
                if await self._try_to_end(batch_id, one, is_done=False):
                    # Only the answer was lost.
                    return
                if not isinstance(error, BulkWriteError):
                    raise
                await self._job_store.tell_conflict(error, members)
            else:
                await self._try_to_end(batch_id, one, is_done=True)

    @guarded
    async def run_once(self) -> None:
        """End the additions that have taken longer than their lease, each alone."""
        late = addition_statements.late_ones(self.now)
        found = self._batches.find(addition_statements.overdue(self.now), late, hint="outbox").limit(_AT_ONCE)
        for batch in [one async for one in found]:
            await self._end_all(batch)

    @guarded
    async def is_run_by(self, batch_id: str, token: str, *, session: AsyncClientSession | None = None) -> bool:
        """Tell whether the claim with this token is that of a running job of a batch."""
        found = {"batchId": ObjectId(batch_id), "state": State.PROCESSING.value, "claim.token": token}
        return await self._jobs.find_one(found, {"_id": 1}, hint=_BY_STATE, session=session) is not None

    async def _reserve(self, batch_id: str, one: Addition, session: AsyncClientSession, *, sealed_too: bool) -> None:
        """Note an addition in its batch, as soon as no other one excludes it."""
        until, pause = time.monotonic() + _WAIT_SECONDS, _PAUSES[0]
        found = addition_statements.has_room(batch_id, one, sealed_too=sealed_too)
        noted = addition_statements.reserve(one, session_id(session), self.now)
        while not (await self._batches.update_one(found, noted)).matched_count:
            late = addition_statements.late_ones(self.now, one.first)
            batch = await self._batches.find_one({"_id": ObjectId(batch_id)}, late | dict.fromkeys(_TOLD, 1))
            if batch is None:
                raise NotFoundError("batch", batch_id)
            if not _accepts(batch, sealed_too=sealed_too):
                raise ConflictError(f"batch {batch_id} is {_why_not(batch)}: no jobs can be added")
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
        """Make sure that the refs are free and no job would wait for itself; nobody else changes that meanwhile."""
        new_refs = [member["ref"] for member in members if "ref" in member]
        if new_refs:
            others = {"$nin": [member["_id"] for member in members]}
            taken = {"batchId": ObjectId(batch_id), "ref": {"$in": new_refs}, "_id": others}
            found = await self._jobs.find_one(taken, {"ref": 1}, hint="ref")
            if found is not None:
                raise RefTakenError(f"the ref {found['ref']} is that of another job of the batch")
        depends_on = {member["_id"]: member["dependsOn"] for member in members}
        for job_id, others_ids in blocked.items():
            ids = [ObjectId(other) for other in others_ids]
            if await leads_to(self._jobs, ObjectId(job_id), ids, depends_on):
                raise _in_a_circle(refs.get(job_id, job_id), ids, members)

    async def _hold(
        self, batch_id: str, one: Addition, blocked: Mapping[str, Sequence[str]], refs: Mapping[str, str]
    ) -> None:
        """Make present jobs wait for the new ones, before these are there."""
        if not blocked:
            return
        writes = [
            UpdateOne(
                addition_statements.waits(batch_id, ObjectId(job_id)),
                addition_statements.hold(one.id, [ObjectId(other) for other in others]),
            )
            for job_id, others in blocked.items()
        ]
        if (await self._jobs.bulk_write(writes, ordered=False)).matched_count == len(writes):
            return
        held = {job["_id"] async for job in self._jobs.find(addition_statements.held(one), {"_id": 1})}
        job_id = str(next((other for other in one.blocks if other not in held), one.blocks[0]))
        raise ConflictError(f"job {refs.get(job_id, job_id)} is no job of the batch that waits for others")

    async def _insert(
        self,
        batch_id: str,
        one: Addition,
        members: Sequence[Document],
        token: str | None,
        session: AsyncClientSession,
    ) -> None:
        """Insert the new jobs, and the decision that they are there."""
        decision = {"_id": one.id, "at": await self._database.clock.now()}

        async def insert(session: AsyncClientSession) -> None:
            # Here, so that whoever has lost the claim meanwhile adds nothing.
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
        """End those additions of a batch that were read with it: nobody may be at them any more."""
        for stored in batch.get(ADDING) or ():
            one = addition_statements.addition(stored)
            await self._database.kill_session(stored.get("session"))
            await self._try_to_end(str(batch["_id"]), one, is_done=False)

    async def _try_to_end(self, batch_id: str, one: Addition, *, is_done: bool) -> bool:
        """End an addition if that is possible at once; if not, the next look ends it.

        Args:
            batch_id: of the batch.
            one: the addition.
            is_done: its jobs are known to be there.

        Returns:
            Whether they are known to be there now.
        """
        try:
            with timeout(_MOMENT):
                is_done = is_done or await self._is_committed(one)
                if not is_done:
                    await self._undo(one)
                mine = {"_id": ObjectId(batch_id), f"{ADDING}._id": one.id}
                await self._batches.update_one(mine, addition_statements.clear(one.id))
        except PyMongoError as error:
            log.warning("addition to a batch not ended yet", batch_id=batch_id, error=str(error)[:200])
        return is_done

    async def _is_committed(self, one: Addition) -> bool:
        """Tell whether the jobs of an addition were inserted; if they were not, they never will be."""
        try:
            await self.decisions.insert_one({"_id": one.id, "at": await self._database.clock.now(), "dropped": True})
        except DuplicateKeyError:
            found = await self.decisions.find_one({"_id": one.id})
            return found is not None and not found.get("dropped")
        return False

    async def _undo(self, one: Addition) -> None:
        """End the wait for jobs that were not added, unless an earlier request has added the same ones."""
        if not one.blocks or await self._jobs.find_one({"_id": {"$in": one.job_ids}}, {"_id": 1}) is not None:
            return
        await self._jobs.update_many(addition_statements.still_waiting(one), addition_statements.let_go(one, self.now))
        await self._jobs.update_many(addition_statements.held(one), addition_statements.forget(one))


_TOLD: Final = ("state", "sealed", "outbox")


def _accepts(batch: Mapping[str, Any], *, sealed_too: bool) -> bool:
    """Tell whether a batch takes jobs, by the rules of `batch_statements.accepts`."""
    is_open = batch.get("state") == OPEN and "requeue" not in (batch.get("outbox") or ())
    return is_open and (sealed_too or not batch.get("sealed"))


def _why_not(batch: Mapping[str, Any]) -> str:
    if batch.get("state") != OPEN:
        return "finished"
    return "being requeued" if "requeue" in (batch.get("outbox") or ()) else "sealed"


def _in_a_circle(name: str, blockers: Sequence[ObjectId], members: Sequence[Document]) -> InvalidInputError:
    place = next(place for place, one in enumerate(members) if one["_id"] in blockers)
    return InvalidInputError({f"jobs.{place}.blocks": [f"would make job {name} wait for itself"]})
