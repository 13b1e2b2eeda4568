"""Jobs with planted values in every shape, and a look for the values in the bytes of a whole database."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.erasure import chosen
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.errors import StaleTokenError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.calls import NewCall
from jobqueue.domain.work.verdict import Failure, Success, Suspension
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.workflow.idempotency import KeyedRequest
from tests.support.data.factories import LONG_AGO, add, claim

if TYPE_CHECKING:
    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

MARK: Final = "planted"
BY: Final = Actor(name="a person", via="test")
PERSON: Final = f"{MARK} person"
META: Final = {"user_id": PERSON}
OTHER: Final = {"user_id": "somebody else", "note": "stays"}


def plant(what: str, count: int = 1) -> str:
    """Return a value that must be gone afterwards."""
    return f"{MARK} {what} " * count


def erasure(meta: dict[str, Any] | None = None) -> NewOperation:
    """Return the operation that erases a person."""
    return NewOperation(action=Action.ERASE, by=BY, filter=chosen(meta or META))


async def erase(runtime: Runtime, meta: dict[str, Any] | None = None) -> Operation:
    """Erase a person, and return the operation as it ended."""
    made = await runtime.operations.create(erasure(meta))
    while await runtime.operations.carry_on(made.id):
        pass
    return await runtime.operations.store.get(made.id)


async def operate(runtime: Runtime, **fields: Any) -> None:
    """Run an operation to its end."""
    made = await runtime.operations.create(NewOperation(by=BY, **fields))
    while await runtime.operations.carry_on(made.id):
        pass


async def left_in(runtime: Runtime, mark: str = MARK) -> dict[str, int]:
    """Return by collection in how many documents the bytes of a mark are."""
    raw: Any = CodecOptions(document_class=RawBSONDocument)
    found: dict[str, int] = {}
    for name in await runtime.database.raw.list_collection_names():
        collection = runtime.database.raw.get_collection(name, codec_options=raw)
        count = sum([mark.encode() in document.raw async for document in collection.find({})])
        found |= {name: count} if count else {}
    return found


async def running(runtime: Runtime, kind: str, **fields: Any) -> ClaimedJob:
    """Add a job of the person, and claim it."""
    job = await add(runtime, kind, **{"queue": kind, "meta": META, "attempts": 1} | fields)
    claimed = await claim(runtime, job.queue)
    assert claimed.job.id == job.id
    return claimed


async def settle(runtime: Runtime, claimed: ClaimedJob, verdict: Any) -> Job:
    await runtime.work.settle(claimed.job, claimed.token, verdict)
    return await runtime.jobs.get(claimed.job.id)


async def long_one(runtime: Runtime) -> str:
    """Make a job with long logs, a large result, steps inside and outside, signals, edits and a long history."""
    await runtime.queues.patch("long", {"limitBy": "meta.user_id", "rate": {"limit": 50, "per": 60}})
    fields = {"data": {"src": plant("data")}, "key": plant("key"), "on_failure": {"type": "k", "data": {"a": MARK}}}
    claimed = await running(runtime, "long", attempts=2, backoff=0, **fields)
    lines = [(plant(f"line {number}"), "info") for number in range(250)]
    await runtime.work.report(claimed.job, claimed.token, lines=lines)
    await runtime.work.steps.record(claimed.job, claimed.token, plant("step"), plant("step result"))
    await runtime.work.steps.record(claimed.job, claimed.token, "large", plant("large step", 2_000))
    await runtime.signals.send(claimed.job.id, "answer", {"said": plant("signal")}, by=BY)
    error = JobError(kind="Boom", message=plant("message"), trace=plant("trace"))
    first, job_id = claimed, claimed.job.id
    await settle(runtime, claimed, Failure(error=error))
    await runtime.manager.patch(job_id, {"data": {"src": plant("edit")}, "meta": META | {"n": 1}}, by=BY)
    await settle(runtime, await claim(runtime, "long"), Success(result={"big": plant("result", 100_000)}))
    await runtime.manager.requeue(job_id, {"data": {"src": plant("requeue")}}, by=BY)
    again = await claim(runtime, "long")
    await runtime.work.steps.record(again.job, again.token, plant("step"), plant("step result"))
    await runtime.work.steps.record(again.job, again.token, "large", plant("large step", 2_000))
    await settle(runtime, again, Success(result={"big": plant("result", 100_000)}))
    await runtime.jobs.history.spill(job_id, keep=1, state=State.SUCCESS)
    with contextlib.suppress(StaleTokenError):
        await settle(runtime, first, Failure(error=error))
    await runtime.database.collection("limits").update_many({}, {"$set": {"expireAt": LONG_AGO}})
    return job_id


async def failed_ones(runtime: Runtime) -> None:
    """Make jobs that failed and were killed, groups of failures, and operations that name the person."""
    for number in range(2):
        claimed = await running(runtime, "bad", data={"n": plant(f"data {number}")})
        await settle(runtime, claimed, Failure(error=JobError(kind="Boom", message=plant("bad"), trace=plant("t"))))
    killed = await add(runtime, "killed", meta=META)
    await runtime.manager.kill(killed.id, plant("reason"), by=BY)
    named = {"meta.user_id": PERSON, "type": "bad"}
    await operate(runtime, action=Action.REQUEUE, filter=named, changes={"data": {"a": plant("change")}})
    for _ in range(2):
        await settle(runtime, await claim(runtime, "bad"), Failure(error=JobError(kind="Boom", message=plant("bad"))))
    await operate(runtime, action=Action.KILL, filter={"$or": [{"meta.user_id": PERSON}]}, reason=plant("why"))
    await runtime.failures.run_once()


async def family(runtime: Runtime) -> str:
    """Make a parent of nobody whose steps have results of the person's children; return its id."""
    job = await add(runtime, "parent", queue="parent", meta=OTHER)
    parent = await claim(runtime, "parent")
    jobs = tuple(NewJob(type="child", queue="child", meta=META, attempts=1, data={"a": MARK}) for _ in range(2))
    for name, size in (("small", 1), ("many", 5_000)):
        called = await runtime.work.steps.call(parent.job, parent.token, name, NewCall(jobs=jobs, failures="return"))
        await settle(runtime, parent, Suspension(wait=Wait(names=(name,), jobs=called.unfinished)))
        await settle(runtime, await claim(runtime, "child"), Success(result=plant("child", size)))
        bad = JobError(kind="Boom", message=plant("child failed"))
        await settle(runtime, await claim(runtime, "child"), Failure(error=bad))
        await runtime.outboxes.run_once()
        parent = await claim(runtime, "parent")
    await settle(runtime, parent, Success(result="of nobody"))
    return job.id


async def together(runtime: Runtime) -> str:
    """Make a batch of the person with callbacks, keyed requests, and a document that was set aside."""
    child = NewJob(type="callback", queue="batch", meta=META, data={"a": plant("callback")})
    members = (Member(job=NewJob(type="member", queue="batch", meta=META), ref="a"),)
    view, _ = await runtime.batches.create(NewBatch(members=members, meta=META, on_complete=child, on_failure=child))
    one, *several = (NewJob(type="keyed", queue="batch", meta=META) for _ in range(3))
    await runtime.idempotency.add(KeyedRequest(key=plant("one"), digest="d"), one)
    await runtime.idempotency.add_all(KeyedRequest(key=plant("many"), digest="d"), several)
    await work_off(runtime, "batch")
    await runtime.database.collection("aside").insert_one({"meta": META, "data": MARK})
    return view.batch.id


async def work_off(runtime: Runtime, queue: str) -> None:
    """Run all jobs of a queue."""
    while (claimed := await runtime.work.claim(queue, None, worker="w")) is not None:
        await settle(runtime, claimed, Success(result=plant("done")))
        await runtime.outboxes.run_once()


async def everything(runtime: Runtime) -> list[str]:
    """Plant all of it; return the ids of the long job, the parent and the batch."""
    await failed_ones(runtime)
    return [await long_one(runtime), await family(runtime), await together(runtime)]


async def document(runtime: Runtime, job_id: str) -> dict[str, Any]:
    """Return a job as it is stored."""
    stored = await runtime.jobs.collection.find_one({"_id": ObjectId(job_id)})
    assert stored is not None
    return dict(stored)
