"""A job can be added with any MongoDB tool: what it lacks is filled in, and what cannot be understood fails."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from pymongo.errors import DuplicateKeyError

from jobqueue.domain.attempts.backoff import DEFAULT, FixedBackoff
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from tests.support.data.external_documents import adopt_all, insert, others_go_on, taken
from tests.support.data.factories import add, claim, document, fail, succeed
from tests.support.docs.readme import TEXT

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

LATER = datetime(2100, 1, 1, tzinfo=UTC)
DEEP: dict[str, Any] = {}
for _ in range(100):
    DEEP = {"a": DEEP}


async def test_type_and_data_are_enough_and_the_queue_says_the_rest(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.patch("default", {"attempts": 7, "priority": 4, "backoff": 0, "lease": 33, "timeout": 5})
    await idle_runtime.configs.refresh()
    job = await taken(idle_runtime, {"type": "mail", "data": {"to": "a@example.com"}})
    assert (job.state, job.queue, job.type, job.data) == (State.PENDING, "default", "mail", {"to": "a@example.com"})
    assert (job.attempts, job.priority, job.backoff, job.lease, job.timeout) == (7, 4, FixedBackoff(0), 33, 5)
    assert abs(job.insert_at - await idle_runtime.database.clock.now()) < timedelta(seconds=10)
    claimed = await claim(idle_runtime)
    assert (await fail(idle_runtime, claimed)).state is State.PENDING
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("line", None)])
    done = await succeed(idle_runtime, await claim(idle_runtime), {"sent": 1})
    assert (done.state, done.result, done.attempts_made, len(done.history)) == (State.SUCCESS, {"sent": 1}, 2, 2)
    assert [one.id for one in (await idle_runtime.listing.page(JobQuery())).items] == [job.id]


async def test_a_document_is_as_if_it_had_been_added_over_http(idle_runtime: Runtime) -> None:
    fields = {"queue": "media", "type": "a", "data": {"n": 1}, "meta": {"user": {"id": 42}, "tags": ["x", "y"]}}
    added = await add(idle_runtime, "a", queue="media", data={"n": 1}, meta=fields["meta"])
    external = await taken(idle_runtime, fields)
    ours, theirs = await document(idle_runtime, added.id), await document(idle_runtime, external.id)
    assert set(ours) == set(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} == {"_id", "insertAt"}
    found = await idle_runtime.listing.page(JobQuery(meta=(("user.id", "42"),)))
    assert {one.id for one in found.items} == {added.id, external.id}


UNDERSTOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"data": {}, "state": State.PENDING}),
    ({"state": "waiting"}, {"state": State.PENDING}),
    ({"state": 5}, {"state": State.PENDING}),
    ({"state": "processing", "claim": {"token": "t", "worker": "w"}}, {"state": State.PENDING, "claim": None}),
    ({"state": "delayed"}, {"state": State.PENDING}),
    ({"delayTil": LATER}, {"state": State.DELAYED, "delay_til": LATER}),
    ({"delayTil": "2100-01-01T00:00:00Z", "state": "pending"}, {"state": State.DELAYED, "delay_til": LATER}),
    ({"delayTil": "2020-01-01", "delay": 5}, {"state": State.PENDING}),
    ({"delay": Int64(3600)}, {"state": State.DELAYED, "delay": 3600}),
    ({"insertAt": "2021-05-06T07:08:09+02:00"}, {"insert_at": datetime(2021, 5, 6, 5, 8, 9, tzinfo=UTC)}),
    ({"priority": Int64(5), "attempts": Decimal128("2"), "lease": 45.0}, {"priority": 5, "attempts": 2, "lease": 45}),
    ({"priority": "high", "attempts": [], "backoff": {}}, {"priority": 0, "attempts": 3, "backoff": DEFAULT}),
    ({"priority": float("nan"), "lease": float("inf"), "attempts": True}, {"priority": 0, "lease": 60, "attempts": 3}),
    ({"priority": Int64(2**62), "timeout": Decimal128("NaN")}, {"priority": 0, "timeout": None}),
    ({"priority": DatetimeMS(2**60), "onSuccessDelete": "yes"}, {"priority": 0, "on_success_delete": False}),
    ({"backoff": [Decimal128("1.5"), Int64(2)]}, {"attempts": 3}),
    ({"history": "none", "logs": 7, "attemptsMade": "some", "progress": "half"}, {"history": (), "progress": 0}),
    ({"outbox": ["children"], "slots": ["a"], "waitsFor": ["x"], "heldTil": 4, "limitKey": 5}, {"outbox": ()}),
    ({"expireAt": LATER, "error": "odd", "result": 5, "endAt": LATER}, {"error": None, "result": None, "end_at": None}),
    ({"batchId": None, "parentId": "a" * 24}, {"parent_id": "a" * 24}),
    ({"onSuccess": {"type": "next", "data": {"n": Int64(4)}}}, {"on_success": NewJob(type="next", data={"n": 4})}),
    ({"_id": "order-17"}, {}),
    ({"_id": 17, "key": "k", "state": "pending"}, {"key": "k"}),
    ({"_id": {"a": Regex("x")}, "queue": "media"}, {"queue": "media"}),
    ({"_id": Binary(b"\0\1")}, {}),
    ({"_id": "b" * 24}, {}),
    ({"unheard": {"of": 1}, "run": None}, {}),
]


async def test_what_can_be_understood_runs(idle_runtime: Runtime) -> None:
    for given, expected in UNDERSTOOD:
        job = await taken(idle_runtime, {"type": "a"} | given)
        assert {name: getattr(job, name) for name in expected} == expected, given
        if job.state is State.DELAYED:
            await idle_runtime.manager.patch(job.id, {"delay_til": None})
        claimed = await claim(idle_runtime, job.queue)
        assert claimed.job.id == job.id, given
        done = await succeed(idle_runtime, claimed)
        assert (done.state, json_form.job(await idle_runtime.jobs.whole(job.id))["id"]) == (State.SUCCESS, job.id), (
            given
        )
        await idle_runtime.jobs.collection.delete_many({})


async def test_what_was_left_out_is_in_the_log_of_the_job(idle_runtime: Runtime) -> None:
    job = await taken(idle_runtime, {"type": "a", "priority": "high", "attempts": 0})
    assert [(line.m, line.level) for line in job.logs] == [
        ("priority must be a whole number: left out", "warning"),
        ("attempts must be from 1 to 10000: left out", "warning"),
    ]
    assert job.log_count == 2


async def test_data_and_meta_may_hold_whatever_mongodb_can(idle_runtime: Runtime) -> None:
    numbers = [Decimal128("1e400"), Int64(2**63 - 1), float("nan"), float("-inf"), Timestamp(1, 2), DatetimeMS(2**60)]
    others = [Binary(b"x"), Regex("a+", "i"), Code("f()", {"x": 1}), MaxKey(), ObjectId()]
    for place, value in enumerate([*numbers, *others, {"$where": "1"}, {"a.b": {"": 1}}]):
        job = await taken(idle_runtime, {"type": "a", "data": {"x": value}, "meta": {"x": value, "place": place}})
        (found,) = (await idle_runtime.listing.page(JobQuery(meta=(("place", str(place)),)))).items
        assert found.id == job.id, value
        assert orjson.dumps(json_form.job(found)), value
        await succeed(idle_runtime, await claim(idle_runtime))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": None}, "type is required"),
    ({"type": 5}, "type must be 1 to 200 printable characters"),
    ({"type": "x" * 201}, "type must be"),
    ({"queue": "no/name"}, "queue must be"),
    ({"queue": ["a"]}, "queue must be"),
    ({"data": [1]}, "data must be an object"),
    ({"data": "text", "meta": 5}, "data must be an object; meta must be an object"),
    ({"data": DEEP}, "data is nested deeper than 64 levels"),
    ({"data": {"x": "x" * 1024 * 1024}}, "data and meta take 1,048,600 bytes; the limit is 1,048,576"),
    ({"meta": {f"k{n}": n for n in range(101)}}, "meta takes at most 100 values"),
    ({"delayTil": "tomorrow"}, "delayTil must be an ISO 8601 date such as 2030-01-31T12:00:00Z"),
    ({"delayTil": DatetimeMS(2**60)}, "delayTil must be a date"),
    ({"delay": "long"}, "delay must be a number of seconds"),
    ({"key": 5}, "key must be 1 to 500 characters"),
    ({"dependsOn": ["a" * 24]}, "dependsOn.0 is not the id of a job"),
    ({"dependsOn": "a" * 24}, "dependsOn must be a list of ids"),
    ({"dependencyPolicy": "maybe"}, "dependencyPolicy must be one of"),
    ({"onSuccess": 5}, "onSuccess must be a job or a list of jobs"),
    ({"onComplete": [{"typo": 1}]}, "onComplete.0.typo is not a known field"),
    ({"onFailure": {"type": "a", "onSuccess": {"data": 1}}}, "onFailure.onSuccess.type is required"),
    ({"batchId": "one", "parentId": 5}, "batchId must be 24 hexadecimal digits; parentId must be"),
    ({"ref": {}}, "ref is not the name"),
    ({"_id": "order-18", "type": None}, "type is required"),
]


async def test_what_cannot_be_understood_fails_and_is_in_nobodys_way(idle_runtime: Runtime) -> None:
    for given, why in REFUSED:
        job = await taken(idle_runtime, {"type": "a"} | given)
        assert (job.state, job.end_at is not None) == (State.FAILED, True), why
        assert job.error is not None
        assert (job.error.kind, job.error.message[: len(why)]) == ("document", why)
        assert json_form.job(await idle_runtime.jobs.whole(job.id))["state"] == "failed"
        (listed,) = (await idle_runtime.listing.page(JobQuery())).items
        await idle_runtime.outboxes.run_once()
        assert (listed.id, (await idle_runtime.jobs.get(job.id)).outbox) == (job.id, ()), why
        await others_go_on(idle_runtime)
        await idle_runtime.jobs.collection.delete_many({})


async def test_a_refused_job_is_repaired_and_requeued(idle_runtime: Runtime) -> None:
    job = await taken(idle_runtime, {"type": "a", "data": [1]})
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"data": {"n": 1}}})
    await idle_runtime.manager.requeue(job.id, {})
    claimed = await claim(idle_runtime)
    assert (claimed.job.id, claimed.job.data) == (job.id, {"n": 1})


async def test_the_children_of_a_refused_job_are_created(idle_runtime: Runtime) -> None:
    job = await taken(idle_runtime, {"type": "a", "data": 5, "onFailure": {"type": "tell"}, "onSuccess": {"type": "b"}})
    assert job.outbox == ()
    claimed = await claim(idle_runtime)
    assert (claimed.job.type, claimed.job.parent_id) == ("tell", job.id)


async def test_a_key_that_is_taken_is_the_reason(idle_runtime: Runtime) -> None:
    holder = await add(idle_runtime, key="k")
    refused = await taken(idle_runtime, {"type": "a", "key": "k"})
    assert refused.error is not None
    assert f"job {holder.id} of queue default is unfinished" in refused.error.message
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await taken(idle_runtime, {"type": "a", "key": "k"})).state is State.PENDING


async def test_it_waits_for_the_jobs_it_depends_on(idle_runtime: Runtime) -> None:
    first = await add(idle_runtime)
    second = await taken(idle_runtime, {"type": "b", "dependsOn": [ObjectId(first.id)]})
    assert (second.state, second.depends_on) == (State.DELAYED, (first.id,))
    await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.outboxes.run_once()
    third = await taken(idle_runtime, {"type": "c", "dependsOn": [first.id], "priority": -1})
    assert [(await claim(idle_runtime)).job.id for _ in range(2)] == [second.id, third.id]


async def test_it_counts_in_the_group_of_its_limits(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.patch("default", {"concurrency": 1, "limitBy": "meta.user"})
    await idle_runtime.configs.refresh()
    for user in (1, 1, 2):
        await taken(idle_runtime, {"type": "a", "meta": {"user": user}})
    claimed = [await idle_runtime.work.claim("default", None, worker="w") for _ in range(3)]
    assert sorted(one.job.meta["user"] for one in claimed if one) == [1, 2]


async def test_jobs_that_ended_elsewhere_are_kept_as_they_are(idle_runtime: Runtime) -> None:
    ended = datetime(2020, 2, 3, tzinfo=UTC)
    job = await taken(idle_runtime, {"type": "a", "state": "success", "result": [1], "endAt": ended, "data": "odd"})
    assert (job.state, job.result, job.end_at, job.insert_at) == (State.SUCCESS, [1], ended, ended)
    undated = await taken(idle_runtime, {"type": "a", "state": "killed", "meta": {"a": 1}, "queue": 5})
    assert (undated.state, undated.queue) == (State.KILLED, "default")
    assert undated.end_at is not None
    assert {one.id for one in (await idle_runtime.listing.page(JobQuery())).items} == {job.id, undated.id}


async def test_another_id_stays_behind_as_a_pointer_and_stays_taken(idle_runtime: Runtime) -> None:
    job = await taken(idle_runtime, {"_id": "order-17", "type": "a"})
    pointer = await idle_runtime.jobs.collection.find_one({"_id": "order-17"})
    assert pointer == {"_id": "order-17", "movedTo": ObjectId(job.id), "run": 0}
    with pytest.raises(DuplicateKeyError):
        await insert(idle_runtime, {"_id": "order-17", "type": "a"})
    assert [one.id for one in (await idle_runtime.listing.page(JobQuery())).items] == [job.id]


async def test_nobody_claims_a_document_before_it_is_looked_at_nor_waits_for_it(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, {"type": "a", "queue": "default", "state": "pending", "priority": 99})
    job = await add(idle_runtime)
    assert (await claim(idle_runtime)).job.id == job.id
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    await adopt_all(idle_runtime)
    assert (await claim(idle_runtime)).job.priority == 99


async def test_what_a_deleted_job_has_left_behind_is_no_job(idle_runtime: Runtime) -> None:
    stone = {"_id": ObjectId(), "queue": "default", "expireAt": LATER}
    await insert(idle_runtime, stone)
    await adopt_all(idle_runtime)
    assert await idle_runtime.jobs.collection.find_one({"_id": stone["_id"]}) == stone


async def test_the_example_of_the_readme_is_a_whole_job(idle_runtime: Runtime) -> None:
    example = re.findall(r"db\.jobs\.insertOne\((\{.*\})\)", TEXT)[-1]
    job = await taken(idle_runtime, json.loads(example))
    assert (job.type, job.queue, job.attempts, job.lease) == ("thumbnail", "media", 3, 60)
    found = await idle_runtime.listing.page(JobQuery(meta=(("user_id", "42"),)))
    assert [one.id for one in found.items] == [job.id]
    assert (await succeed(idle_runtime, await claim(idle_runtime, "media"))).state is State.SUCCESS
