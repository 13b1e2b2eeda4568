"""Batches over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.client.bulk import BulkCalls
from jobqueue.client.calls import made, view
from jobqueue.client.wire import views
from jobqueue.client.wire.forms import batch_form, batch_query_form, given, member_forms
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.search.job_filter import meta_pairs
from jobqueue.domain.values.checks import check_id
from jobqueue.domain.workflow.batch import FINISHED, AddedMember, Batch, BatchView, StandIn
from jobqueue.domain.workflow.batch_query import BatchQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from jobqueue.domain.workflow.batch import Member, NewBatch

_ACCEPTED: Final = 202
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class BatchCalls(BulkCalls):
    """Calls about batches."""

    async def add_batch(self, batch: NewBatch) -> tuple[BatchView, list[AddedMember]]:
        """Create a batch and its first jobs, all or nothing; as `JobQueue.add_batch`.

        Raises:
            InvalidInputError: naming each unacceptable job, double or unknown ref, and jobs that wait for each other.
            KeyConflictError: an unfinished job has the key of one.
        """
        reply = await self._send("POST", "batches", body=await batch_form(batch), keyed=True)
        return made(lambda form: (_batch(form), _added(form)), reply)

    async def add_to_batch(
        self, batch_id: str, members: Sequence[Member], *, token: str | None = None
    ) -> list[AddedMember]:
        """Add jobs to an open batch, all or none; with the token of a running job of the batch also to a sealed batch.

        Raises:
            ConflictError: the batch is sealed or has finished.
        """
        body = {"jobs": await member_forms(members), **given(token=token)}
        return await self._read(_added, "POST", "batches", check_id(batch_id), "jobs", body=body, keyed=True)

    async def batch(self, batch_id: str) -> BatchView:
        """Return a batch with the counts and the progress of its jobs."""
        return await self._read(_batch, "GET", "batches", check_id(batch_id))

    def batches(
        self,
        state: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the name of the API
        failed: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[BatchView]:
        """Yield all batches, newest first.

        Args:
            state: ``open`` or ``finished``.
            type: only batches with a job of this type.
            failed: only batches with a job that has failed or was killed.
            meta: values that the batch itself has, by path.
        """
        query = BatchQuery(state=state, type=type, failed=failed, meta=meta_pairs(meta))
        return self._pages(_batch, "batches", query=batch_query_form(query))

    async def graph(self, batch_id: str) -> views.GraphView:
        """Return the jobs of a batch, at most 10,000, and the jobs that each depends on."""
        return await self._read(view(views.GraphView), "GET", "batches", check_id(batch_id), "graph")

    async def seal_batch(self, batch_id: str) -> BatchView:
        """Exclude further jobs: the batch finishes when all its jobs have ended."""
        return await self._read(_batch, "POST", "batches", check_id(batch_id), "seal")

    async def requeue_batch(self, batch_id: str, *, callbacks: bool = False) -> BatchView:
        """Restart failed and killed jobs, and jobs that were killed because of them.

        Args:
            batch_id: the batch.
            callbacks: repeat the callbacks for success that came before.

        Raises:
            ServerUnreachableError: there was no answer. The call is not repeated by itself: look at the batch first.
        """
        body = {"callbacks": True} if callbacks else {}
        return await self._read(_batch, "POST", "batches", check_id(batch_id), "requeue", body=body, safe=False)

    async def kill_batch(self, batch_id: str, reason: str | None = None) -> int:
        """Kill all unfinished jobs of a batch; return their number.

        After a lost reply, the number is that of all killed jobs of the batch: who killed which is not known.
        """
        reply = await self._send("POST", "batches", check_id(batch_id), "kill", body=given(reason=reason))
        done = None
        if reply.status == _ACCEPTED:
            begun = made(view(views.OperationView), reply)
            done = (await self.wait_operation(begun.id)).done
        if reply.uncertain:
            return (await self.batch(batch_id)).counts[State.KILLED]
        return made(lambda form: int(form["killed"]), reply) if done is None else done

    async def wait_batch(self, batch_id: str, timeout: float | None = None) -> BatchView:  # noqa: ASYNC109 - it goes on after it
        """Wait until a batch has finished, and return it.

        Args:
            batch_id: the batch.
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            TimeoutError: the time is over; the batch goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while (seen := await self.batch(batch_id)).batch.state != FINISHED:
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"batch {batch_id} has not finished within {timeout:g} seconds")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return seen


def _batch(form: Any) -> BatchView:
    batch = Batch(
        id=form["id"],
        meta=form["meta"],
        insert_at=json_reading.date(form["insertAt"]),
        sealed=form["sealed"],
        state=form["state"],
        end_at=json_reading.date(form["endAt"]),
        on_complete=json_reading.children(form["onComplete"]),
        on_success=json_reading.children(form["onSuccess"]),
        on_failure=json_reading.children(form["onFailure"]),
        generation=form["generation"],
        verdict=form["verdict"],
        stand_ins=tuple(_stand_in(entry) for entry in form["standIns"]),
    )
    return BatchView(batch=batch, counts=form["counts"], progress=form["progress"])


def _stand_in(form: Any) -> StandIn:
    names = ("event", "index", "generation", "key")
    return StandIn(**{name: form[name] for name in names}, job_id=form["jobId"])


def _added(form: Any) -> list[AddedMember]:
    return [AddedMember(id=entry["id"], ref=entry["ref"]) for entry in form["jobs"]]
