"""A database that version 0.3.0 has left behind goes on with this version.

The documents were written by version 0.3.0 itself: its processes were killed while jobs ran, and one between the end of
a job and the creation of its child.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from bson import ObjectId, json_util

from jobqueue.domain.attempts.states import State
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.work.failure import FailureQuery
from jobqueue.domain.work.verdict import Success
from jobqueue.store import indexes
from tests.support.data.factories import claim, open_runtime, patient_reaper, succeed
from tests.support.docs.readme import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

pytestmark = pytest.mark.own_indexes

_KEPT: Final[dict[str, Any]] = json_util.loads(
    (ROOT / "tests" / "support" / "older" / "version_0_3_0.json").read_text(),
    json_options=json_util.JSONOptions(tz_aware=True, tzinfo=UTC),
)
IDS: Final[dict[str, str]] = _KEPT["ids"]


def _moved(value: Any, span: timedelta) -> Any:
    """Return a document whose dates are later by a span."""
    if isinstance(value, datetime):
        return value + span
    if isinstance(value, dict):
        return {key: _moved(part, span) for key, part in value.items()}
    return [_moved(part, span) for part in value] if isinstance(value, list) else value


@pytest.fixture
async def upgraded(settings: Settings) -> AsyncIterator[Runtime]:
    """The present version without background work, three seconds after the last write of version 0.3.0."""
    async with open_runtime(settings) as runtime:
        span = await runtime.database.clock.now() - _KEPT["now"] - timedelta(seconds=3)
        for collection, document in _KEPT["documents"]:
            await runtime.database.collection(collection).insert_one(_moved(document, span))
    async with open_runtime(settings) as runtime:
        yield runtime


async def state(runtime: Runtime, name: str) -> State:
    return (await runtime.jobs.get(IDS[name])).state


async def children(runtime: Runtime, name: str) -> list[str]:
    found = await runtime.jobs.collection.find({"parentId": ObjectId(IDS[name])}).to_list(None)
    return [document["type"] for document in found]


async def test_every_job_is_there_as_it_was(upgraded: Runtime) -> None:
    assert await indexes.differences(upgraded.database) == []
    assert {name: await state(upgraded, name) for name in IDS if name not in {"batch", "failedBatch"}} == {
        "success": State.SUCCESS,
        "failed": State.FAILED,
        "running": State.PROCESSING,
        "delayed": State.DELAYED,
        "far": State.DELAYED,
        "killed": State.KILLED,
        "keyed": State.PENDING,
        "pending": State.PENDING,
        "parent": State.SUCCESS,
        "dead": State.PROCESSING,
    }
    found = await upgraded.listing.page(JobQuery(meta=(("user_id", "7"),)))
    assert {job.id for job in found.items} == {IDS["success"], IDS["pending"]}
    groups, _ = await upgraded.failures.page(FailureQuery())
    assert [group.count for group in groups if "vat_id" in group.message] == [2]
    failed = await upgraded.jobs.get(IDS["failed"])
    assert [entry.outcome for entry in failed.history] == ["fail", "fail"]
    assert failed.history[0].error is not None


async def test_a_worker_of_the_former_version_keeps_its_claim(upgraded: Runtime) -> None:
    await patient_reaper(upgraded).run_once()
    running = await upgraded.jobs.get(IDS["running"])
    assert (running.state, running.claim is not None) == (State.PROCESSING, True)
    assert running.claim is not None
    await upgraded.work.settle(running, running.claim.token, Success(result={"by": "old"}))
    assert (await upgraded.jobs.get(IDS["running"])).result == {"by": "old"}


async def test_a_claim_whose_worker_has_died_runs_out(upgraded: Runtime) -> None:
    past = {"$set": {"resetAt": datetime.now(UTC) - timedelta(days=1)}}
    await upgraded.jobs.collection.update_one({"_id": ObjectId(IDS["dead"])}, past)
    await patient_reaper(upgraded).run_once()
    dead = await upgraded.jobs.get(IDS["dead"])
    assert (dead.state, dead.history[-1].outcome) == (State.DELAYED, "hanging")
    assert await state(upgraded, "running") is State.PROCESSING


async def test_an_outbox_is_finished_once(upgraded: Runtime) -> None:
    assert await children(upgraded, "parent") == []
    for _ in range(2):
        await upgraded.outboxes.run_once()
    assert await children(upgraded, "parent") == ["child"]


async def test_waiting_jobs_run_in_their_order_with_their_children(upgraded: Runtime) -> None:
    first = await claim(upgraded, "later")
    assert first.job.id == IDS["pending"]
    await succeed(upgraded, first, 1)
    assert await children(upgraded, "pending") == ["child"]
    again = await upgraded.manager.requeue(IDS["failed"])
    assert (again.state, again.attempts_made) == (State.PENDING, 0)


async def test_a_batch_ends_and_another_one_is_repeated(upgraded: Runtime) -> None:
    members = await upgraded.jobs.collection.find({"batchId": ObjectId(IDS["batch"])}).sort("_id").to_list(None)
    running = await upgraded.jobs.get(str(members[0]["_id"]))
    assert running.claim is not None
    await upgraded.work.settle(running, running.claim.token, Success(result=1))
    released = await upgraded.work.claim("shop", ["child"], worker="worker")
    assert released is not None
    assert released.job.id == str(members[1]["_id"])
    await succeed(upgraded, released, 2)
    assert (await upgraded.batches.get(IDS["batch"])).batch.state == "finished"
    callbacks = {"callbackOf.batchId": ObjectId(IDS["batch"])}
    assert await upgraded.jobs.collection.count_documents(callbacks) == 1
    await upgraded.batches.requeue(IDS["failedBatch"])
    states = [job["state"] async for job in upgraded.jobs.collection.find({"batchId": ObjectId(IDS["failedBatch"])})]
    assert sorted(states) == ["delayed", "pending"]


async def test_tokens_schedules_and_configuration_hold(upgraded: Runtime) -> None:
    caller = await upgraded.access.caller(_KEPT["token"])
    assert caller is not None
    assert (await upgraded.queues.tagged("shop"))[0].concurrency == 5
    for name in ("every", "nightly"):
        assert (await upgraded.schedules.get(name)).next_at is not None
    due = {"$set": {"nextAt": datetime.now(UTC) - timedelta(minutes=1)}}
    await upgraded.database.collection("schedules").update_one({"_id": "every"}, due)
    for _ in range(2):
        await upgraded.scheduler.run_once()
    assert await upgraded.jobs.collection.count_documents({"schedule": "every"}) == 1
