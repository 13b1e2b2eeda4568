"""Documents of other tools: found at once and by an index, once whoever looks, and never in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId, Regex
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import WriteError

from jobqueue.domain.attempts.states import UNFINISHED, State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search.query import JobQuery
from jobqueue.services import application as runtimes
from jobqueue.store import indexes
from jobqueue.store.documents import external_statements
from tests.support.data.external_documents import adopt_all, insert, others_go_on, taken
from tests.support.data.factories import (
    LONG_AGO,
    add,
    claim,
    claimed_job,
    end_lease,
    open_runtime,
    patient_reaper,
    succeed,
)
from tests.support.mongo.plans import explain
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

LIMIT = 16 * 1024 * 1024


async def test_the_change_stream_tells_of_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "ADOPT_SECONDS", 3600.0)
    async with open_runtime(settings, started=True) as runtime:
        await asyncio.wait_for(runtime.changes.open.wait(), 10)
        first = await insert(runtime, {"_id": "one", "type": "a", "state": "pending"})
        second = await insert(runtime, {"type": "b"})

        async def both_wait() -> bool:
            found = runtime.jobs.collection.find({"state": "pending", "run": 0})
            return {one["type"] async for one in found} == {"a", "b"}

        await eventually(both_wait)
        assert first == "one"
        assert (await runtime.jobs.get(str(second))).state is State.PENDING


async def test_nothing_in_them_ends_the_change_stream(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "ADOPT_SECONDS", 3600.0)
    async with open_runtime(settings, started=True) as runtime:
        await asyncio.wait_for(runtime.changes.open.wait(), 10)
        for odd in ({"priority": DatetimeMS(2**60)}, {"queue": {"a": 1}, "priority": []}, {"_id": {"x": 1}}):
            await insert(runtime, {"type": "a", "state": "pending", "run": 0, **odd})
        made = ObjectId()
        fields = b"\x07_id\0" + made.binary + b"\x02queue\0\x02\0\0\0\xff\0\0"
        await runtime.jobs.collection.insert_one(RawBSONDocument((len(fields) + 4).to_bytes(4, "little") + fields))
        await insert(runtime, {"type": "last"})

        async def last_waits() -> bool:
            return await runtime.jobs.collection.find_one({"type": "last", "run": 0}) is not None

        await eventually(last_waits)
        assert (await runtime.jobs.get(str(made))).state is State.FAILED


async def test_they_are_found_by_an_index_that_holds_nothing_else(idle_runtime: Runtime) -> None:
    for _ in range(20):
        await add(idle_runtime)
    await insert(idle_runtime, {"type": "a"})
    find = {"find": "jobs", "filter": external_statements.EXTERNAL, "hint": external_statements.INDEX}
    await explain(idle_runtime.database, find, keys=1)
    assert await indexes.differences(idle_runtime.database) == []


async def test_four_that_look_at_once_take_each_over_once(settings: Settings, idle_runtime: Runtime) -> None:
    documents: list[dict[str, Any]] = [{"type": "a", "data": {"n": number}} for number in range(150)]
    documents += [{"_id": f"id-{number}", "type": "a", "key": f"k{number}"} for number in range(10)]
    documents += [{"type": "a", "key": f"k{number}"} for number in range(5)]
    await idle_runtime.jobs.collection.insert_many(documents)
    async with open_runtime(settings) as second, open_runtime(settings) as third:
        await asyncio.gather(*(adopt_all(one) for one in (idle_runtime, second, third, idle_runtime)))
    states = [one["state"] async for one in idle_runtime.jobs.collection.find({"state": {"$exists": True}})]
    assert (states.count("pending"), states.count("failed"), len(states)) == (160, 5, 165)
    assert await idle_runtime.jobs.collection.count_documents({"run": None}) == 0


async def test_one_that_two_have_seen_is_moved_once(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, {"_id": "one", "type": "a"})
    jobs = idle_runtime.jobs.collection
    read = await jobs.find_one({"_id": "one"})
    assert read is not None
    first = ObjectId()
    await jobs.update_one(external_statements.seen(read), external_statements.hide(first))
    # The second one has read it before the first one hid it.
    assert await idle_runtime.adopter._store.move(read)
    await adopt_all(idle_runtime)
    assert [one["_id"] async for one in jobs.find({"type": {"$exists": True}})] == [first]
    assert await jobs.count_documents({}) == 2


async def test_one_whose_key_was_taken_while_it_was_moved_is_refused_and_kept(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, {"_id": 1, "type": "a", "key": "k", "state": "pending", "data": {"n": 1}})
    hide = external_statements.hide(ObjectId())
    await idle_runtime.jobs.collection.update_one({"_id": 1}, hide)
    living = await add(idle_runtime, key="k")
    await adopt_all(idle_runtime)
    moved = await idle_runtime.jobs.get(str(hide[0]["$replaceWith"]["movedTo"]["$literal"]))
    assert (moved.state, moved.data) == (State.FAILED, {"n": 1})
    assert moved.error is not None
    assert living.id in moved.error.message


async def test_a_crash_while_one_is_moved_loses_nothing(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, {"_id": 1, "type": "a", "key": "k", "state": "pending"})
    jobs = idle_runtime.jobs.collection
    hide = external_statements.hide(ObjectId())
    await jobs.update_one({"_id": 1}, hide)
    # Hidden and nothing more; then copied, and nothing more.
    copy = hide[0]["$replaceWith"]["movedTo"]["$literal"]
    await adopt_all(idle_runtime)
    assert (await idle_runtime.jobs.get(str(copy))).key == "k"
    await jobs.update_one({"_id": 1}, {"$set": {"was": {"type": "a", "key": "k"}}, "$unset": {"run": ""}})
    await adopt_all(idle_runtime)
    assert await jobs.count_documents({"type": "a"}) == 1
    assert (await claim(idle_runtime)).job.id == str(copy)


@pytest.mark.parametrize("room", [1, 60, 100_000, 7_000_000])
async def test_a_document_without_room_for_what_happens_to_a_job_fails_and_is_kept_whole(
    idle_runtime: Runtime, room: int
) -> None:
    text = "x" * (LIMIT - 64 - room)
    job = await taken(idle_runtime, {"type": "a", "data": {"text": text}})
    assert job.state is State.FAILED
    assert job.error is not None
    assert "the limit is 8,388,608; the document is kept in the collection aside" in job.error.message
    kept = await idle_runtime.database.collection("aside").find_one({"_id": ObjectId(job.id)})
    assert kept is not None
    assert kept["data"] == {"text": text}
    await others_go_on(idle_runtime)


async def fill(runtime: Runtime, job_id: str) -> None:
    """Make a document as large as one can be."""
    found = await runtime.jobs.collection.find_one({"_id": ObjectId(job_id)})
    text = "x" * (LIMIT - len(bson.encode(found or {})) - len(bson.encode({"text": ""})) + 4)
    await runtime.jobs.collection.update_one({"_id": ObjectId(job_id)}, {"$set": {"data.text": text}})


async def test_a_waiting_job_that_somebody_made_too_large_keeps_none_behind_it_waiting(idle_runtime: Runtime) -> None:
    large, small = await add(idle_runtime, priority=1), await add(idle_runtime)
    await fill(idle_runtime, large.id)
    assert (await claim(idle_runtime)).job.id == small.id
    await adopt_all(idle_runtime)
    failed = await idle_runtime.jobs.get(large.id)
    assert (failed.state, failed.error and failed.error.kind) == (State.FAILED, "document")


async def test_a_running_job_that_somebody_made_too_large_is_ended_by_the_reaper(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1)
    await end_lease(idle_runtime, claimed.job)
    await fill(idle_runtime, claimed.job.id)
    await patient_reaper(idle_runtime).run_once()
    await adopt_all(idle_runtime)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.error and job.error.kind) == (State.FAILED, "document")


@pytest.mark.parametrize("odd", [{"claim": "me"}, {"claim": {"worker": "w"}}, {"history": "none"}, {"history": []}])
async def test_a_running_job_whose_claim_was_spoilt_runs_again(idle_runtime: Runtime, odd: dict[str, Any]) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.manager.kill(claimed.job.id)
    await idle_runtime.manager.requeue(claimed.job.id)
    claimed = await claim(idle_runtime)
    changes = {"resetAt": LONG_AGO, **odd}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(claimed.job.id)}, {"$set": changes})
    await patient_reaper(idle_runtime).run_once()
    await adopt_all(idle_runtime)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.attempts_made, job.run) == (State.PENDING, 1, 1)
    await succeed(idle_runtime, await claim(idle_runtime))


scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.integers(-5, 5),
    st.floats(),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), DatetimeMS(2**60), DatetimeMS(-(2**60)), ObjectId("b" * 24)]),
    st.sampled_from([Decimal128("1"), Decimal128("NaN"), b"\0", Regex("a"), "pending", "processing", "success", "a"]),
)
names = st.sampled_from(["token", "worker", "type", "kind", "data", "t", "m", "outcome", "onSuccess", "base", "$a", ""])
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)
FIELDS = sorted(
    {"type", "queue", "state", "data", "meta", "key", "claim", "expireAt", "outbox", "slots", "waitsFor", "dependents"}
    | {"priority", "attempts", "backoff", "delay", "lease", "timeout", "insertAt", "delayTil", "resetAt", "endAt"}
    | {"batchId", "parentId", "dependsOn", "ref", "progress", "logs", "logCount", "history", "result", "error"}
    | {"onComplete", "onSuccess", "onFailure", "attemptsMade", "had", "setAside", "movedTo", "was", "schedule", "_id"}
)
odd_documents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


async def clear(runtime: Runtime) -> None:
    """Take everything away that earlier examples have left."""
    for name in ("jobs", "aside"):
        await runtime.database.collection(name).delete_many({})


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(odd_documents, min_size=1, max_size=12))
async def test_whatever_is_put_there_waits_or_has_failed_with_a_reason(
    idle_runtime: Runtime, odd: list[dict[str, Any]]
) -> None:
    await clear(idle_runtime)
    for document in odd:
        # A list or a pattern cannot be an _id; an expireAt in the past is a wish to be deleted.
        wanted = {name: value for name, value in document.items() if name != "expireAt" or value is None}
        if isinstance(wanted.get("_id"), list | Regex | dict):
            wanted["_id"] = ObjectId()
        # MongoDB itself refuses two lists under one index, and a second _id or key.
        with contextlib.suppress(WriteError):
            await insert(idle_runtime, wanted)
    await adopt_all(idle_runtime)
    assert await idle_runtime.jobs.collection.count_documents({"run": None}) == 0
    await idle_runtime.outboxes.run_once()
    page = await idle_runtime.listing.page(JobQuery(limit=200))
    held = await idle_runtime.jobs.collection.count_documents({"state": {"$exists": True}})
    assert len(page.items) == held
    for job in page.items:
        assert json_form.job(job)["id"] == job.id
        if job.state is State.FAILED and job.error is not None and job.error.kind == "document":
            assert job.error.message
        elif job.state in UNFINISHED:
            assert job.state in {State.PENDING, State.DELAYED}
            await idle_runtime.manager.kill(job.id)
    await others_go_on(idle_runtime)
