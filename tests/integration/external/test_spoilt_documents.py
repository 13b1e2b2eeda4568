"""A job that somebody spoils with a MongoDB tool fails visibly, and can be mended: it never lies there for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import Code, Decimal128, ObjectId, Regex

from jobqueue.api.app import make_app
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.states import State
from jobqueue.store.bulk.failures import FailureStore
from jobqueue.store.documents import unsound_statements
from jobqueue.store.external.unsound import faults
from tests.support.external_documents import adopt_all, others_go_on
from tests.support.factories import LONG_AGO, add, claim, claimed_job, fail, patient_reaper, succeed
from tests.support.plans import explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

NAN, INFINITE = float("nan"), float("inf")
STATES: list[dict[str, Any]] = [
    {"state": "Failed"},
    {"state": ""},
    {"state": "zombie"},
    {"state": 5},
    {"state": None},
    {"state": ["pending"]},
    {"state": Code("pending")},
    {"state": "delayed"},
    {"state": "delayed", "waitsFor": []},
    {"state": "processing"},
    {"state": "processing", "resetAt": "soon", "claim": {"token": "t", "worker": "w"}},
]
FIELDS: list[dict[str, Any]] = [
    {"data": [1, 2]},
    {"data": None},
    {"data": "text"},
    {"meta": [{"a": 1}]},
    {"attempts": "3"},
    {"attempts": 0},
    {"attempts": True},
    {"attempts": Decimal128("3")},
    {"attempts": INFINITE},
    {"attemptsMade": "none"},
    {"priority": None},
    {"priority": "high"},
    {"priority": -INFINITE},
    {"backoff": "soon"},
    {"backoff": ["soon"]},
    {"lease": "long"},
    {"lease": NAN},
    {"lease": 0},
    {"lease": 1e300},
    {"timeout": "none"},
    {"timeout": NAN},
    {"history": "none"},
    {"history": 5},
    {"history": ["done"]},
    {"logs": 7},
    {"queue": 5},
    {"queue": ""},
    {"queue": None},
    {"queue": Code("default")},
    {"type": Code("work")},
    {"key": Code("k")},
    {"dependsOn": [Code("a")]},
    {"type": 5},
    {"type": ""},
    {"type": None},
    {"key": 5},
    {"run": "first"},
    {"run": []},
    {"insertAt": "now"},
    {"insertAt": None},
    {"delayTil": "tomorrow"},
    {"delay": "long"},
    {"dependsOn": "a"},
    {"dependsOn": ["a"]},
    {"waitsFor": "a"},
    {"waitsFor": [5]},
    {"batchId": "a"},
    {"parentId": 5},
    {"outbox": 5},
    {"onSuccess": 5},
    {"onFailure": ["next"]},
    {"onSuccessDelete": "yes"},
    {"data": Regex("x"), "attempts": [], "lease": {}},
]
SPOILT = [*STATES, *FIELDS]


async def spoil(runtime: Runtime, job: Job, changes: dict[str, Any]) -> None:
    await runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": changes})


async def claim_nothing(runtime: Runtime) -> None:
    """Make sure that no job of the usual queue can be claimed."""
    assert await runtime.work.claim("default", None, worker="w") is None


async def spoilt(runtime: Runtime, changes: dict[str, Any], **fields: Any) -> str:
    job = await add(runtime, **fields)
    await spoil(runtime, job, changes)
    return job.id


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def test_a_spoilt_job_fails_and_why_says_what_is_wrong(idle_runtime: Runtime) -> None:
    ids = {await spoilt(idle_runtime, changes, data={"n": 1}): changes for changes in SPOILT}
    await claim_nothing(idle_runtime)
    await adopt_all(idle_runtime)
    for job_id, changes in ids.items():
        job = await idle_runtime.jobs.get(job_id)
        assert (job.state, job.error and job.error.kind, job.end_at is not None) == (State.FAILED, "document", True), (
            changes
        )
        assert job.error is not None
        named = {"state", "delayTil", "resetAt"} if "state" in changes else set(changes)
        assert any(name in job.error.message for name in named), (changes, job.error.message)
        (reason,) = (await idle_runtime.explainer.why(job_id)).reasons
        assert job.error.message in reason.message, changes
    await others_go_on(idle_runtime)


async def test_a_spoilt_job_can_be_mended_or_got_rid_of(idle_runtime: Runtime) -> None:
    sound = {"data": {"n": 2}, "attempts": 3, "priority": 0, "backoff": 1}
    for changes in SPOILT:
        job_id = await spoilt(idle_runtime, changes)
        await adopt_all(idle_runtime)
        patched = await idle_runtime.manager.patch(job_id, {"lease": 60, "timeout": None, "meta": {}})
        await idle_runtime.manager.requeue(job_id, sound)
        await adopt_all(idle_runtime)
        claimed = await claim(idle_runtime, patched.queue)
        assert (claimed.job.id, claimed.job.data) == (job_id, {"n": 2}), changes
        assert (await succeed(idle_runtime, claimed)).state is State.SUCCESS
        await idle_runtime.manager.delete(job_id)
        with pytest.raises(NotFoundError):
            await idle_runtime.jobs.whole(job_id)


async def test_a_spoilt_job_that_is_requeued_as_it_is_fails_again(idle_runtime: Runtime) -> None:
    job_id = await spoilt(idle_runtime, {"data": [1, 2]})
    await adopt_all(idle_runtime)
    assert (await idle_runtime.manager.requeue(job_id)).state is State.PENDING
    await claim_nothing(idle_runtime)
    await adopt_all(idle_runtime)
    job = await idle_runtime.jobs.get(job_id)
    assert job.error is not None
    assert (job.state, job.error.message) == (State.FAILED, "data must be an object, not [1, 2]")


@pytest.mark.parametrize("changes", [{"priority": None}, {"data": []}, {"attempts": "3"}], ids=str)
async def test_a_spoilt_job_can_be_killed_changed_or_deleted_before_it_is_found(
    idle_runtime: Runtime, changes: dict[str, Any]
) -> None:
    killed, patched, deleted = [await spoilt(idle_runtime, changes) for _ in range(3)]
    assert (await idle_runtime.manager.kill(killed)).state is State.KILLED
    await idle_runtime.manager.patch(patched, {"priority": 1, "data": {}, "attempts": 2})
    await idle_runtime.manager.delete(deleted)
    await adopt_all(idle_runtime)
    assert (await idle_runtime.jobs.get(killed)).state is State.KILLED
    assert (await claim(idle_runtime)).job.id == patched


async def test_what_is_over_or_lacks_only_what_has_a_default_stays_as_it_is(idle_runtime: Runtime) -> None:
    done = await succeed(idle_runtime, await claimed_job(idle_runtime))
    await spoil(idle_runtime, done, {"data": [1], "attempts": "3", "history": 5, "insertAt": "now"})
    await adopt_all(idle_runtime)
    assert (await idle_runtime.jobs.get(done.id)).state is State.SUCCESS
    bare = await add(idle_runtime)
    absent = (
        "data",
        "meta",
        "attempts",
        "priority",
        "backoff",
        "lease",
        "timeout",
        "history",
        "logs",
        "key",
        "dependsOn",
    )
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(bare.id)}, {"$unset": dict.fromkeys(absent, "")})
    await adopt_all(idle_runtime)
    assert (await claim(idle_runtime)).job.id == bare.id


async def test_a_job_whose_state_was_taken_away_fails(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$unset": {"state": ""}})
    await adopt_all(idle_runtime)
    assert (await idle_runtime.jobs.get(job.id)).state is State.FAILED


async def test_sound_jobs_in_every_state_are_left_alone(idle_runtime: Runtime) -> None:
    first = await add(idle_runtime, delay=0, key="k")
    waiting = await idle_runtime.producer.add(NewJob(type="t", depends_on=(first.id,), queue="other"))
    due = datetime(2100, 1, 1, tzinfo=UTC)
    later = await add(idle_runtime, delay_til=due, timeout=5, backoff=[1, 2], on_success=NewJob(type="next"))
    held = await idle_runtime.producer.add(NewJob(type="t", depends_on=(first.id,), delay_til=due, queue="other"))
    failed = await fail(idle_runtime, await claimed_job(idle_runtime, queue="third", backoff=60))
    for name, value in (("attempts", 3.0), ("lease", 45.5)):
        await spoil(idle_runtime, first, {name: value})
    before = [one async for one in idle_runtime.jobs.collection.find().sort("_id", 1)]
    await adopt_all(idle_runtime)
    assert [one async for one in idle_runtime.jobs.collection.find().sort("_id", 1)] == before
    assert len(before) == len({one.id for one in (first, waiting, later, held, failed)})
    assert [faults(one) for one in before] == [{}] * len(before)


async def test_who_waits_for_a_spoilt_job_hears_of_its_failure(idle_runtime: Runtime) -> None:
    first = await add(idle_runtime, on_failure=NewJob(type="tell"))
    second = await idle_runtime.producer.add(NewJob(type="t", depends_on=(first.id,)))
    await spoil(idle_runtime, first, {"data": [1]})
    await adopt_all(idle_runtime)
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.jobs.get(second.id)).state is State.KILLED
    assert (await claim(idle_runtime)).job.type == "tell"


@pytest.mark.parametrize(
    "changes", [{"queue": 5}, {"resetAt": "soon"}, {"resetAt": None}, {"state": "Running"}], ids=str
)
async def test_a_running_job_that_nobody_could_end_fails(idle_runtime: Runtime, changes: dict[str, Any]) -> None:
    claimed = await claimed_job(idle_runtime)
    await spoil(idle_runtime, claimed.job, changes)
    await adopt_all(idle_runtime)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.claim, len(job.history)) == (State.FAILED, None, 1)


async def test_a_running_job_with_a_spoilt_history_comes_back_from_its_reaper(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await spoil(idle_runtime, claimed.job, {"history": "none", "resetAt": LONG_AGO})
    await patient_reaper(idle_runtime).run_once()
    await adopt_all(idle_runtime)
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PENDING


async def test_spoilt_jobs_are_found_by_their_index_however_many_others_there_are(idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    await idle_runtime.producer.add_all([NewJob(type="t", delay=3600 * (one % 2)) for one in range(500)])
    find = {"find": "jobs", "filter": unsound_statements.spoilt(), "hint": unsound_statements.INDEX, "limit": 100}
    await explain(database, find, keys=0)
    await spoilt(idle_runtime, {"state": "Failed"})
    await explain(database, find, keys=len(unsound_statements.unsound()["$or"]))
    many = [await add(idle_runtime) for _ in range(3)]
    await idle_runtime.jobs.collection.update_many({"delayTil": {"$ne": None}}, {"$set": {"attempts": "3"}})
    await adopt_all(idle_runtime)
    assert await idle_runtime.jobs.collection.count_documents({"error.kind": "document"}) == 251
    assert {(await claim(idle_runtime)).job.type for _ in many} <= {"t", "work"}


READING = ("", "/logs", "/family", "/why")
LISTING = (
    "/v1/jobs",
    "/v1/jobs?q=t&sort=priority",
    "/v1/queues",
    "/v1/queues/default",
    "/v1/failures",
    "/v1/stats",
    "/v1/batches",
)


async def test_no_request_breaks_on_a_spoilt_job(client: Client, idle_runtime: Runtime) -> None:
    ids = [await spoilt(idle_runtime, changes, meta={"a": 1}) for changes in SPOILT]

    async def look() -> None:
        for path in LISTING:
            async with client.get(path) as answer:
                assert answer.status == 200, path
        for body in ({"filter": {"meta.a": 1}}, {"filter": {"attempts": {"$gt": 0}}, "sort": {"insertAt": 1}}):
            async with client.post("/v1/jobs/search", json=body) as answer:
                assert answer.status == 200
        for job_id, changes in zip(ids, SPOILT, strict=True):
            for path in READING:
                async with client.get(f"/v1/jobs/{job_id}{path}") as answer:
                    assert answer.status in {200, 404}, (changes, path)

    await look()
    for job_id, changes in zip(ids, SPOILT, strict=True):
        for method, path, body in (
            ("PATCH", "", {"priority": 1}),
            ("POST", "/requeue", None),
            ("POST", "/kill", None),
            ("DELETE", "", None),
        ):
            async with client.request(method, f"/v1/jobs/{job_id}{path}", json=body) as answer:
                assert answer.status < 500, (changes, method, path)
    ids = [await spoilt(idle_runtime, changes, meta={"a": 1}) for changes in SPOILT]
    await adopt_all(idle_runtime)
    await look()


@pytest.mark.parametrize("held", [5, "x", {"a": 1}])
async def test_odd_slots_of_a_running_job_hold_up_no_claim_of_its_queue(idle_runtime: Runtime, held: Any) -> None:
    await idle_runtime.queues.patch("default", {"concurrency": 2})
    for _ in range(2):
        await add(idle_runtime)
    claimed = await claim(idle_runtime)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(claimed.job.id)}, {"$set": {"slots": held}})
    assert (await claim(idle_runtime)).job.id != claimed.job.id


@pytest.mark.parametrize("mark", [False, [], 0, "no"])
async def test_a_job_ends_though_its_mark_of_dependents_is_odd(idle_runtime: Runtime, mark: Any) -> None:
    await add(idle_runtime)
    claimed = await claim(idle_runtime)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(claimed.job.id)}, {"$set": {"dependents": mark}})
    await succeed(idle_runtime, claimed)
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.SUCCESS


@pytest.mark.parametrize("change", [{"endAt": {"$x": 1}}, {"endAt": {"$gt": 1}}, {"queue": {"$x": 1}}])
async def test_an_odd_failure_keeps_nobody_from_the_list_of_failures(
    idle_runtime: Runtime, change: dict[str, Any]
) -> None:
    job = await add(idle_runtime)
    odd = {"state": "failed", **{name: {"$literal": value} for name, value in change.items()}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, [{"$set": odd}])
    await FailureStore(idle_runtime.database).mark(100)
