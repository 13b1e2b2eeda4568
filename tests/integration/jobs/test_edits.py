"""What a tool of MongoDB changes in `meta` is followed, and nothing is shown or changed by what `meta` was before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, ObjectId, encode
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.jobs.edits import EditFollower
from jobqueue.store.documents import attributes
from jobqueue.store.edits import edits
from tests.support.data.external_documents import adopt_all, insert
from tests.support.data.factories import add, document, open_runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

EDITS: list[dict[str, Any]] = [
    {"$set": {"meta.user": 2}},
    {"$set": {"meta": {"user": 2, "team": "b"}}},
    {"$set": {"meta.tags.0": "y"}},
    {"$push": {"meta.tags": "z"}},
    {"$pop": {"meta.tags": 1}},
    {"$rename": {"meta.user": "meta.owner"}},
    {"$unset": {"meta.user": ""}},
    {"$unset": {"meta": ""}},
    {"$set": {"meta": None}},
    {"$set": {"meta": 5}},
    {"$set": {"meta": "user=1"}},
    {"$set": {"meta": [{"user": 1}]}},
    {"$set": {"meta": {str(number): number for number in range(101)}}},
    {"$set": {"meta": {"long": "x" * 100_000}}},
    {"$set": {"meta": {"n": Decimal128("0.1"), "id": ObjectId("a" * 24), "f": float("nan"), "b": b"x"}}},
]


def follower(runtime: Runtime) -> EditFollower:
    return EditFollower(runtime.edits, runtime.configs, runtime.limit_keys, runtime.notifier)


async def follow(runtime: Runtime) -> None:
    """Follow all changes up to now, and end a walk that has begun."""
    one = follower(runtime)
    while True:
        await runtime.database.collection("streams").update_many({}, {"$unset": {"at": ""}})
        if await one.run_once() is None:
            return


async def stale(runtime: Runtime) -> list[Any]:
    """Return the jobs whose attributes are not those of their `meta`."""
    found = runtime.jobs.collection.find({"run": {"$ne": None}, "state": {"$exists": True}})
    return [one["_id"] async for one in found if one.get("attrs") != attributes.derived(one.get("meta"))]


async def is_followed(runtime: Runtime) -> bool:
    return not await stale(runtime)


async def edit(runtime: Runtime, job: Job, update: dict[str, Any]) -> None:
    """Change a job as with a tool of MongoDB."""
    await runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, update)


async def stored(runtime: Runtime) -> dict[str, Any]:
    """Return what is stored of the position."""
    found = await runtime.database.collection("streams").find_one({"_id": "edits"})
    assert found is not None
    return dict(found)


async def has_no_walk(runtime: Runtime) -> bool:
    found = await runtime.database.collection("streams").find_one({"_id": "edits"})
    return found is not None and "walk" not in found


async def test_whatever_becomes_of_meta_is_followed(runtime: Runtime) -> None:
    jobs = [await add(runtime, meta={"user": 1, "tags": ["x", {"deep": 1}]}) for _ in EDITS]
    await eventually(lambda: has_no_walk(runtime))
    for job, update in zip(jobs, EDITS, strict=True):
        await edit(runtime, job, update)
    whole = await add(runtime, meta={"user": 1})
    kept = await document(runtime, whole.id)
    await runtime.jobs.collection.replace_one({"_id": kept["_id"]}, kept | {"meta": {"user": 3}})
    bare = await add(runtime, meta={"user": 1})
    kept = await document(runtime, bare.id)
    del kept["attrs"]
    await runtime.jobs.collection.replace_one({"_id": kept["_id"]}, kept)
    assert await stale(runtime)
    await eventually(lambda: is_followed(runtime))
    assert (await document(runtime, jobs[0].id))["attrs"] == ["user=2", 'tags="x"', "tags.deep=1"]
    assert (await document(runtime, jobs[-1].id))["attrs"] == ["n=0.1", f'id="{"a" * 24}"', "f=NaN"]
    assert "walk" not in await stored(runtime)


async def test_an_edit_made_while_no_process_ran_is_followed_from_the_stored_position(
    settings: Settings, idle_runtime: Runtime
) -> None:
    async with open_runtime(settings) as first:
        jobs = [await add(first, meta={"user": 1}) for _ in range(3)]
        await follow(first)
        position = (await stored(first))["position"]
    await edit(idle_runtime, jobs[1], {"$set": {"meta.user": 2}})
    for number in range(20):
        await add(idle_runtime, meta={"user": number})
    async with open_runtime(settings) as second:
        second.edits.begin = None  # type: ignore[method-assign, assignment]
        await follow(second)
        assert (await stored(second))["position"] > position
    assert (await document(idle_runtime, jobs[1].id))["attrs"] == ["user=2"]


def too_old(position: str) -> str:
    """Return a position of long before the oplog begins."""
    return position[:2] + "00000001" + position[10:]


@pytest.mark.parametrize(
    "spoil",
    [
        too_old,
        lambda _: "82FFFF",
        lambda _: "no position",
        lambda _: None,
        lambda _: 7,
        lambda _: {"_data": "x"},
        lambda position: position[:2] + "FFFFFFFF" + position[10:],
    ],
)
async def test_where_the_position_is_of_no_use_a_walk_derives_all_anew(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    monkeypatch.setattr(edits, "MOST", 4)
    jobs = [await add(idle_runtime, meta={"user": 1}) for _ in range(30)]
    await follow(idle_runtime)
    streams = idle_runtime.database.collection("streams")
    position = spoil((await stored(idle_runtime))["position"])
    await streams.update_one({"_id": "edits"}, {"$set": {"position": position}})
    for job in jobs:
        await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    await follow(idle_runtime)
    assert await stale(idle_runtime) == []
    assert "walk" not in await stored(idle_runtime)
    await edit(idle_runtime, jobs[0], {"$set": {"meta.user": 3}})
    await follow(idle_runtime)
    assert (await document(idle_runtime, jobs[0].id))["attrs"] == ["user=3"]


@pytest.mark.parametrize("odd", [{"a": 1}, "one", 5, None], ids=str)
async def test_a_document_with_an_id_that_no_job_has_is_passed_over(idle_runtime: Runtime, odd: Any) -> None:
    job = await add(idle_runtime, meta={"user": 1})
    await follow(idle_runtime)
    await insert(idle_runtime, await document(idle_runtime, job.id) | {"_id": odd})
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"meta.user": 2}})
    await follow(idle_runtime)
    assert (await document(idle_runtime, job.id))["attrs"] == ["user=2"]


async def test_large_jobs_are_looked_at_some_at_a_time_and_none_is_passed_over(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "MOST_BYTES", 100)
    jobs = [await add(idle_runtime, meta={"user": 1, "long": "x" * 100}) for _ in range(10)]
    await follow(idle_runtime)
    for job in jobs:
        await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    await follow(idle_runtime)
    assert await stale(idle_runtime) == []
    await idle_runtime.jobs.collection.update_many({}, {"$unset": {"attrs": ""}})
    await idle_runtime.database.collection("streams").delete_many({})
    await follow(idle_runtime)
    assert await stale(idle_runtime) == []


async def test_the_first_process_with_a_position_derives_what_earlier_ones_have_missed(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, meta={"user": 1})
    await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    await follow(idle_runtime)
    assert await stale(idle_runtime) == []


async def test_a_walk_goes_on_where_another_process_has_left_it(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "MOST", 4)
    jobs = [await add(idle_runtime, meta={"user": 1}) for _ in range(11)]
    for job in jobs:
        await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    async with open_runtime(settings) as first:
        await first.edits.begin(None)
        walk = (await first.edits.progress()).walk
        assert walk is not None
        await first.edits.step(walk)
        # The place has moved on: the same step again changes nothing of it.
        await first.edits.step(walk)
    assert len(await stale(idle_runtime)) == 7
    assert (await stored(idle_runtime))["walk"]["last"] == ObjectId(jobs[3].id)
    await follow(idle_runtime)
    assert await stale(idle_runtime) == []


async def test_a_walk_that_begins_anew_is_not_ended_by_a_step_of_the_one_before(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, meta={"user": 1})
    store = idle_runtime.edits
    await store.begin(None)
    before = await store.progress()
    assert before.walk is not None
    await store.begin(before.position)
    await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    await store.step(before.walk)
    assert (await store.progress()).walk is not None


async def test_the_position_is_never_set_back(idle_runtime: Runtime) -> None:
    await idle_runtime.edits.begin(None)
    first = await idle_runtime.edits.progress()
    await add(idle_runtime)
    later = (await idle_runtime.edits.next(first.position)).position
    assert later > first.position
    await idle_runtime.edits.advance(later)
    await idle_runtime.edits.advance(first.position)
    await idle_runtime.edits.begin(first.position)
    assert (await idle_runtime.edits.progress()).position == later


async def test_an_edit_that_comes_between_reading_and_writing_wins(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime, meta={"user": 1})
    await follow(idle_runtime)
    store: Any = idle_runtime.edits
    real = store._jobs

    class Late:
        """The collection of jobs; before its first write another edit is followed."""

        async def bulk_write(self, updates: Any, **options: Any) -> Any:
            monkeypatch.setattr(store, "_jobs", real)
            await edit(idle_runtime, job, {"$set": {"meta.user": 3}})
            await store.derive([ObjectId(job.id)])
            return await real.bulk_write(updates, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    monkeypatch.setattr(store, "_jobs", Late())
    await follow(idle_runtime)
    assert (await document(idle_runtime, job.id))["attrs"] == ["user=3"]


async def test_two_processes_follow_many_edits_together(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "MOST", 50)
    new = [NewJob(type="a", meta={"user": number % 5}) for number in range(300)]
    jobs = await idle_runtime.producer.add_all(new)
    await idle_runtime.database.collection("streams").delete_many({})
    async with open_runtime(settings, started=True), open_runtime(settings, started=True):
        for turn in range(5):
            updates = [
                UpdateOne({"_id": ObjectId(job.id)}, {"$set": {"meta.user": [turn, number]}})
                for number, job in enumerate(jobs)
            ]
            await asyncio.gather(
                idle_runtime.jobs.collection.bulk_write(updates, ordered=False),
                idle_runtime.jobs.collection.update_many({"meta.user": turn - 1}, {"$set": {"meta.team": turn}}),
                idle_runtime.edits.begin((await idle_runtime.edits.progress()).position),
            )
        await eventually(lambda: is_followed(idle_runtime))
        await eventually(lambda: has_no_walk(idle_runtime))
    assert await stale(idle_runtime) == []


async def test_a_document_that_takes_no_attributes_holds_up_no_others(idle_runtime: Runtime) -> None:
    jobs = [await add(idle_runtime, meta={"user": 1}) for _ in range(3)]
    await follow(idle_runtime)
    # Two lists cannot be in one index.
    await edit(idle_runtime, jobs[0], {"$unset": {"attrs": ""}})
    await edit(idle_runtime, jobs[0], {"$set": {"insertAt": [1, 2], "meta.user": 2}})
    await edit(idle_runtime, jobs[1], {"$set": {"meta.user": 2}})
    await follow(idle_runtime)
    assert await stale(idle_runtime) == [ObjectId(jobs[0].id)]


async def test_a_meta_that_is_no_text_of_unicode_is_followed(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, meta={"user": 1})
    await follow(idle_runtime)
    odd = RawBSONDocument(encode({"a": "xx", "b": 1}).replace(b"xx", b"\xff\xfe"))
    await edit(idle_runtime, job, {"$set": {"meta": odd}})
    await follow(idle_runtime)
    assert (await document(idle_runtime, job.id))["attrs"] == ['a="\ufffd\ufffd"', "b=1"]


async def test_a_document_taken_over_as_it_was_before_an_edit_is_derived_anew(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await follow(idle_runtime)
    made = await insert(idle_runtime, {"type": "a", "data": {}, "meta": {"user": 1}})
    store: Any = idle_runtime.adopter._store
    adopt = store.adopt

    async def late(*given: Any) -> Any:
        await idle_runtime.jobs.collection.update_one({"_id": made}, {"$set": {"meta.user": 2}})
        await follow(idle_runtime)
        return await adopt(*given)

    monkeypatch.setattr(store, "adopt", late)
    await adopt_all(idle_runtime)
    assert await stale(idle_runtime) == [made]
    await follow(idle_runtime)
    assert await stale(idle_runtime) == []


async def test_what_is_deleted_is_of_no_concern(idle_runtime: Runtime) -> None:
    parent = await add(idle_runtime, meta={"user": 1})
    await follow(idle_runtime)
    await edit(idle_runtime, parent, {"$set": {"meta.user": 2}})
    await idle_runtime.manager.delete(parent.id)
    await follow(idle_runtime)
    left = await idle_runtime.jobs.collection.find_one({"_id": ObjectId(parent.id)})
    assert left is None or "attrs" not in left


async def test_an_edit_gives_a_waiting_job_its_group_at_once(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("default", {"concurrency": 1, "limitBy": "meta.user"})
    await idle_runtime.queues.put("other", {"concurrency": 1, "limitBy": "data.user"})
    await idle_runtime.configs.refresh()
    jobs = [await add(idle_runtime, meta={"user": 1}), await add(idle_runtime, queue="other", data={"user": 1})]
    await follow(idle_runtime)
    await edit(idle_runtime, jobs[0], {"$set": {"meta.user": 2}})
    await edit(idle_runtime, jobs[1], {"$set": {"data.user": 2}})
    await follow(idle_runtime)
    assert (await document(idle_runtime, jobs[0].id))["limitKey"] == "meta.user=2"
    assert (await document(idle_runtime, jobs[1].id))["limitKey"] == "data.user=2"


async def test_a_change_that_takes_away_a_group_brings_the_next_look_at_it(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("default", {"concurrency": 1, "limitBy": "data.user"})
    await idle_runtime.configs.refresh()
    job = await add(idle_runtime, data={"user": 1}, delay=600)
    await follow(idle_runtime)
    read = await idle_runtime.jobs.get(job.id)
    await edit(idle_runtime, job, {"$set": {"data.user": 2}})
    group = await idle_runtime.manager._group(read, {"meta": {"n": 1}})
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, [{"$set": {"meta": {"n": 1}} | group}])
    assert "limitKey" not in await document(idle_runtime, job.id)
    await follow(idle_runtime)
    assert (await document(idle_runtime, job.id))["limitKey"] == "data.user=2"


async def test_changes_are_followed_though_the_clock_of_the_server_was_set_back(idle_runtime: Runtime) -> None:
    await follow(idle_runtime)
    job = await add(idle_runtime, meta={"user": 1})
    await edit(idle_runtime, job, {"$set": {"meta.user": 2}})
    ahead = [{"$set": {"at": {"$dateAdd": {"startDate": "$$NOW", "unit": "hour", "amount": 1}}}}]
    await idle_runtime.database.collection("streams").update_one({"_id": "edits"}, ahead)
    await follower(idle_runtime).run_once()
    assert await is_followed(idle_runtime)


async def test_a_value_that_the_server_cannot_read_holds_up_no_other_change(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.patch("default", {"concurrency": 5, "limitBy": "meta.user"})
    await follow(idle_runtime)
    job, other = [await add(idle_runtime, meta={"user": "ab"}) for _ in range(2)]
    before = (await stored(idle_runtime))["position"]
    spoilt = RawBSONDocument(encode({"user": "ab"}).replace(b"ab\x00", b"\xff\xfe\x00"))
    await edit(idle_runtime, job, {"$set": {"meta": spoilt}})
    await edit(idle_runtime, other, {"$set": {"meta.user": "cd"}})
    await follow(idle_runtime)
    assert (await stored(idle_runtime))["position"] > before
    assert (await document(idle_runtime, other.id))["attrs"] == attributes.derived({"user": "cd"})
