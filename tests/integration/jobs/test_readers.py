"""Results stay until all have read them who may: dependents, children, callbacks of a batch."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue import Member, NewBatch, NewJob
from jobqueue.api.jobs.schemas import WhyResponse
from jobqueue.domain.attempts.states import State
from jobqueue.domain.work.results import Results
from jobqueue.domain.work.verdict import Success
from jobqueue.services.jobs.retention import UnreadJobs
from jobqueue.store.jobs import readers
from tests.support.data.factories import ERROR, add, claim, claimed_job, die, document, fail, open_runtime, succeed
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    import pytest

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


def step(ref: str, *after: str, **fields: Any) -> Member:
    return Member(job=NewJob(type=ref, **fields), ref=ref, after=after)


def fleeting(ref: str, *after: str, **fields: Any) -> Member:
    return step(ref, *after, on_success_delete=True, **fields)


async def create(runtime: Runtime, *members: Member, **fields: Any) -> dict[str, str]:
    view, added = await runtime.batches.create(NewBatch(members=members, **fields))
    return {"batch": view.batch.id} | {one.ref: one.id for one in added if one.ref}


async def run(runtime: Runtime, kind: str, result: Any = None) -> Job:
    """Claim the next job, which has to be of this type, and let it succeed."""
    claimed = await claim(runtime)
    assert claimed.job.type == kind
    return (await succeed_claimed(runtime, claimed, result)) or claimed.job


async def succeed_claimed(runtime: Runtime, claimed: Any, result: Any) -> Job | None:
    await runtime.work.settle(claimed.job, claimed.token, Success(result=result))
    return await runtime.jobs.find(claimed.job.id)


async def there(runtime: Runtime, job_id: str) -> bool:
    """Delete what everybody has read; tell whether a job is still there."""
    await UnreadJobs(runtime.jobs).run_once()
    return await runtime.jobs.find(job_id) is not None


async def why(runtime: Runtime, job_id: str) -> dict[str, Any]:
    shown = WhyResponse.of(await runtime.explainer.why(job_id))
    return next((reason for reason in shown["reasons"] if reason["kind"] == "unread"), {})


async def test_a_join_gets_the_results_of_members_that_are_deleted_when_they_succeed(idle_runtime: Runtime) -> None:
    refs = [f"p{place}" for place in range(4)]
    ids = await create(idle_runtime, *(fleeting(ref) for ref in refs), step("join", *refs))
    for place, ref in enumerate(refs):
        await run(idle_runtime, ref, 10**place)
    assert all([await there(idle_runtime, ids[ref]) for ref in refs])
    assert [job["id"] for job in (await why(idle_runtime, ids["p0"]))["jobs"]] == [ids["join"]]
    join = await claim(idle_runtime)
    assert sum(Results(join.job.parents or ()).values()) == 1111
    assert all([await there(idle_runtime, ids[ref]) for ref in refs])
    await succeed(idle_runtime, join)
    assert not any([await there(idle_runtime, ids[ref]) for ref in refs])


async def test_a_reader_that_has_failed_reads_again_when_it_is_requeued(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, fleeting("part"), step("join", "part", attempts=1))
    await run(idle_runtime, "part", 7)
    await fail(idle_runtime, await claim(idle_runtime))
    assert await there(idle_runtime, ids["part"])
    await idle_runtime.manager.requeue(ids["join"])
    join = await claim(idle_runtime)
    assert dict(Results(join.job.parents or ())) == {"part": 7}
    await succeed(idle_runtime, join)
    assert not await there(idle_runtime, ids["part"])


async def test_a_reader_that_is_deleted_reads_no_more(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, fleeting("part"), step("join", "part", attempts=1))
    await run(idle_runtime, "part", 7)
    await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.manager.delete(ids["join"])
    assert not await there(idle_runtime, ids["part"])


async def test_a_child_reads_its_parent(idle_runtime: Runtime) -> None:
    parent = await add(idle_runtime, "parent", on_success_delete=True, on_success=NewJob(type="child"))
    await run(idle_runtime, "parent", 5)
    assert await there(idle_runtime, parent.id)
    child = await claim(idle_runtime)
    seen = await idle_runtime.relatives(child.job).parent()
    assert seen is not None
    assert seen.result == 5
    await succeed(idle_runtime, child)
    assert not await there(idle_runtime, parent.id)


async def test_the_callbacks_of_a_batch_read_its_members(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, fleeting("one"), fleeting("two"), on_complete=NewJob(type="sum"))
    await run(idle_runtime, "one", 1)
    assert await there(idle_runtime, ids["one"])
    await run(idle_runtime, "two", 2)
    callback = await claim(idle_runtime)
    page = await idle_runtime.relatives(callback.job).batch_jobs(None, 10)
    assert sum(job.result for job in page.items) == 3
    assert await there(idle_runtime, ids["one"])
    await succeed(idle_runtime, callback)
    assert not any([await there(idle_runtime, ids[ref]) for ref in ("one", "two")])


async def test_members_stay_until_a_repair_has_brought_on_success(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, fleeting("fine"), step("bad", attempts=1), on_success=NewJob(type="sum"))
    await run(idle_runtime, "fine", 1)
    await fail(idle_runtime, await claim(idle_runtime))
    assert await there(idle_runtime, ids["fine"])
    assert "repair" in (await why(idle_runtime, ids["fine"]))["message"]
    await idle_runtime.batches.requeue(ids["batch"])
    await run(idle_runtime, "bad", 2)
    assert await there(idle_runtime, ids["fine"])
    await run(idle_runtime, "sum")
    assert not await there(idle_runtime, ids["fine"])


async def test_members_of_an_unsealed_batch_stay(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_ABOUT_TO_DEPEND", timedelta(0))
    ids = await create(idle_runtime, fleeting("part"), sealed=False)
    await run(idle_runtime, "part", 1)
    assert await there(idle_runtime, ids["part"])
    await idle_runtime.batches.add(ids["batch"], [step("join", "part")])
    await idle_runtime.batches.seal(ids["batch"])
    join = await claim(idle_runtime)
    assert dict(Results(join.job.parents or ())) == {"part": 1}
    await succeed(idle_runtime, join)
    assert not await there(idle_runtime, ids["part"])


async def test_without_a_reader_a_job_is_deleted_at_once(idle_runtime: Runtime) -> None:
    alone = await add(idle_runtime, "alone", on_success_delete=True)
    await run(idle_runtime, "alone")
    assert await idle_runtime.jobs.find(alone.id) is None
    nameless = Member(job=NewJob(type="a", on_success_delete=True))
    _, added = await idle_runtime.batches.create(NewBatch(members=[nameless, fleeting("b"), step("c")]))
    for kind in ("a", "b"):
        await run(idle_runtime, kind)
    # Jobs that are still to be added to the batch may name the other one.
    assert [await idle_runtime.jobs.find(one.id) is not None for one in added] == [False, True, True]
    await run(idle_runtime, "c")
    assert not await there(idle_runtime, added[1].id)


async def test_a_person_deletes_what_others_still_have_to_read(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, fleeting("part"), step("join", "part"))
    await run(idle_runtime, "part", 7)
    await idle_runtime.manager.delete(ids["part"])
    assert not await there(idle_runtime, ids["part"])


async def test_a_kept_job_that_is_run_once_more_is_not_deleted_under_way(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, fleeting("part"), step("join", "part", delay=3600))
    await run(idle_runtime, "part", 7)
    await idle_runtime.manager.requeue(ids["part"])
    await idle_runtime.manager.delete(ids["join"])
    assert await there(idle_runtime, ids["part"])
    assert "unread" not in await document(idle_runtime, ids["part"])
    await run(idle_runtime, "part", 8)
    assert not await there(idle_runtime, ids["part"])


async def test_a_job_on_which_another_is_about_to_depend_is_kept(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = await add(idle_runtime, "part", on_success_delete=True)
    # Another process has looked whether the job is there, and has not stored its own yet.
    assert await idle_runtime.dependencies.mark([part.id]) == []
    await run(idle_runtime, "part", 7)
    assert await there(idle_runtime, part.id)
    late = await idle_runtime.jobs.insert(NewJob(type="late", depends_on=(part.id,), attempts=1, lease=60))
    monkeypatch.setattr(readers, "_ABOUT_TO_DEPEND", timedelta(0))
    assert await there(idle_runtime, part.id)
    await idle_runtime.manager.delete(late.id)
    assert not await there(idle_runtime, part.id)


async def prune(runtime: Runtime) -> int:
    states = (State.SUCCESS, State.FAILED, State.KILLED)
    found = [await runtime.pruning.prune("default", state, -60, 500) for state in states]
    return sum(gone for gone, _ in found)


async def test_retention_waits_for_readers_likewise(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("part"), step("join", "part", attempts=1))
    await run(idle_runtime, "part", 7)
    await die(idle_runtime, await claim(idle_runtime), ERROR)
    gone, _ = await idle_runtime.pruning.prune("default", State.SUCCESS, -60, 500)
    assert gone == 0
    assert await why(idle_runtime, ids["part"]) == {}
    await idle_runtime.queues.patch("default", {"retention": {"success": 0.001}})
    assert [job["id"] for job in (await why(idle_runtime, ids["part"]))["jobs"]] == [ids["join"]]
    await idle_runtime.manager.requeue(ids["join"])
    join = await claim(idle_runtime)
    assert dict(Results(join.job.parents or ())) == {"part": 7}
    await succeed(idle_runtime, join)
    assert await prune(idle_runtime) == 2


async def test_many_kept_jobs_hold_up_neither_others_nor_the_pruner(idle_runtime: Runtime) -> None:
    refs = [f"n{place}" for place in range(7)]
    await create(idle_runtime, *map(step, refs), step("join", *refs, attempts=1))
    for ref in refs:
        await run(idle_runtime, ref)
    await fail(idle_runtime, await claim(idle_runtime))
    single = await succeed(idle_runtime, await claimed_job(idle_runtime, "single"))
    gone, _ = await idle_runtime.pruning.prune("default", State.SUCCESS, -60, 2)
    assert gone == 1
    assert await idle_runtime.jobs.find(single.id) is None
    # The next look begins where only kept ones lay before.
    after, _ = idle_runtime.pruning._after.peek(("default", State.SUCCESS))
    assert after > readers_began(after)


def readers_began(moment: Any) -> Any:
    return moment.fromtimestamp(0, moment.tzinfo)


async def test_pages_of_kept_jobs_are_looked_at_in_turn(
    idle_runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.services.jobs.retention._UNREAD_AT_ONCE", 2)
    refs = [f"p{place}" for place in range(5)]
    ids = await create(idle_runtime, *(fleeting(ref) for ref in refs), step("join", *refs))
    for ref in refs:
        await run(idle_runtime, ref)
    await run(idle_runtime, "join")
    async with open_runtime(settings) as other:
        unread = UnreadJobs(other.jobs)
        turns = [await unread.run_once() is not None for _ in range(3)]
        assert turns == [True, True, False]
        assert not any([await other.jobs.find(ids[ref]) for ref in refs])


async def test_readers_are_found_by_indexes(idle_runtime: Runtime) -> None:
    jobs = idle_runtime.jobs.collection
    parent = (await add(idle_runtime, "parent")).id
    await jobs.insert_many([{"queue": "q", "state": "success", "run": 1, "dependsOn": []} for _ in range(100)])
    await add(idle_runtime, "child", depends_on=[parent])
    for field in ("dependsOn", "parentId", "callbackOf.batchId"):
        reading = {field: {"$in": [ObjectId(parent)]}, "state": readers._READING}
        await explain(idle_runtime.database, {"find": "jobs", "filter": reading}, keys=3)
