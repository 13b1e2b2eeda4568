"""The next process after a crash: it runs all loops, works all jobs off, and reports broken promises."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.work.verdict import Failure, Success
from jobqueue.services.jobs.retention import Pruner, UnreadJobs
from jobqueue.store.bulk.operation_statements import FREE
from jobqueue.store.insight.audit_outbox import AuditOutbox
from tests.support.data.factories import ERROR, LONG_AGO, patient_reaper

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jobqueue.services.application import Runtime

QUEUES = ("default", "other")
COLLECTIONS = (
    "additions",
    "jobs",
    "batches",
    "logs",
    "attempts",
    "audit",
    "config",
    "idempotency",
    "limits",
    "operations",
    "schedules",
    "aside",
)


async def clear(runtime: Runtime) -> None:
    """Empty the database."""
    for name in COLLECTIONS:
        await runtime.database.collection(name).delete_many({})
    runtime.claims.unsettle(None)
    await runtime.configs.refresh()


async def work_off(runtime: Runtime, bad: Collection[str] = ()) -> None:
    """Run all claimable jobs; jobs of some types fail."""
    await runtime.jobs.promote_due()
    for queue in QUEUES:
        while claimed := await runtime.work.claim(queue, None, worker="next"):
            verdict = Failure(error=ERROR) if claimed.job.type in bad else Success()
            await runtime.work.settle(claimed.job, claimed.token, verdict)
            await runtime.jobs.promote_due()


async def recover(runtime: Runtime) -> None:
    """Run the loops of a living process for about a minute, and work off all jobs."""
    jobs = runtime.jobs.collection
    await runtime.configs.refresh()
    for _ in range(3):
        runtime.outboxes._stuck.clear()
        await runtime.outboxes.run_once()
        await runtime.adopter.run_once()
        await runtime.database.collection("batches").update_many(
            {"adding": {"$exists": True}}, {"$set": {"adding.$[].until": LONG_AGO}}
        )
        await runtime._batch_store.additions.run_once()
        await AuditOutbox(runtime.database).run_once()
        await runtime.scheduler.run_once()
        await runtime.database.collection("operations").update_many(
            {"state": "running"}, {"$set": {"lease.until": FREE}}
        )
        while await runtime.operations.carry_on():
            pass
        await jobs.update_many({"state": "processing"}, {"$set": {"resetAt": LONG_AGO}})
        await patient_reaper(runtime).run_once()
        await jobs.update_many({"delayTil": {"$type": "date"}}, {"$set": {"delayTil": LONG_AGO}})
        await work_off(runtime)
        await Pruner(runtime.configs, runtime.pruning).run_once()
        await UnreadJobs(runtime.jobs).run_once()
    runtime.claims.unsettle(None)
    await runtime.outboxes.run_once()


async def violations(runtime: Runtime) -> list[str]:
    """Return a line for each broken promise."""
    jobs = [job async for job in runtime.jobs.collection.find({"state": {"$exists": True}})]
    states = {job["_id"]: job["state"] for job in jobs}
    bad = [f"{job['type']} is {job['state']}" for job in jobs if job["state"] not in FINAL]
    bad += [f"{job['type']} asks for {job['outbox']}" for job in jobs if "outbox" in job]
    bad += [f"{job['type']} holds a slot" for job in jobs if "slots" in job]
    for job in jobs:
        culprits = [states.get(other) for other in job.get("dependsOn", [])]
        if (job.get("error") or {}).get("kind") == "dependency" and set(culprits) <= {"success"}:
            bad.append(f"{job['type']} fell because of {culprits}")
    # Each run of a job has children of its own.
    runs = {job["_id"]: job["run"] + 1 for job in jobs}
    children = Counter((job["parentId"], job["type"]) for job in jobs if job.get("parentId"))
    bad += [
        f"{kind} was born {count} times" for (mother, kind), count in children.items() if count > runs.get(mother, 1)
    ]
    async for batch in runtime.database.collection("batches").find():
        bad += _of_batch(batch, jobs)
    return bad


def _of_batch(batch: Mapping[str, Any], jobs: Collection[Mapping[str, Any]]) -> list[str]:
    bad = []
    if batch["state"] != "finished" and batch["sealed"]:
        bad.append(f"batch is {batch['state']} in generation {batch['generation']}")
    if "outbox" in batch:
        bad.append(f"batch asks for {batch['outbox']}")
    members = {job["state"] for job in jobs if job.get("batchId") == batch["_id"]}
    called = [job["callbackOf"] for job in jobs if (job.get("callbackOf") or {}).get("batchId") == batch["_id"]]
    told = Counter((callback["event"], callback["generation"]) for callback in called)
    bad += [f"callback {event} came {count} times" for event, count in told.items() if count > 1]
    verdict = "success" if members <= {"success"} else "failed"
    if batch["sealed"] and batch.get("verdict") != verdict:
        bad.append(f"verdict is {batch.get('verdict')} of {members}")
    events = {event for event, _ in told}
    if batch["sealed"] and batch.get("onSuccess") and (verdict == "success") != ("success" in events):
        bad.append(f"callbacks of {members} are {told}")
    if batch["sealed"] and batch.get("onComplete") and "complete" not in events:
        bad.append("no callback for the end")
    if batch.get("onFailure") and verdict == "failed" and "failure" not in events:
        bad.append("no callback for the failure")
    return bad


async def counts(runtime: Runtime) -> dict[str, int]:
    """Return how many jobs of each type there are."""
    return dict(Counter([job["type"] async for job in runtime.jobs.collection.find({"state": {"$exists": True}})]))


async def let_time_pass(runtime: Runtime, job_id: str) -> None:
    """Move the end of a job to long ago."""
    await runtime.jobs.collection.update_one({"_id": ObjectId(job_id)}, {"$set": {"endAt": LONG_AGO}})
