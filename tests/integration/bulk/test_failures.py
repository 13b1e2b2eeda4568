"""Failures in groups of the same mistake."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.api.bulk.schemas import FailureResponse
from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, NotFoundError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.work.failure import BY_LAST, FailureQuery
from jobqueue.store.bulk import failure_statements, failures
from jobqueue.store.documents import scope_filters
from tests.support.data.factories import (
    add,
    claim,
    claimed_job,
    die,
    document,
    end_lease,
    fail,
    patient_reaper,
    retry_now,
)
from tests.support.mongo.plans import stages

if TYPE_CHECKING:
    from jobqueue.domain.work.failure import FailureGroup
    from jobqueue.services.application import Runtime

ANN = Actor(name="ann", via="http")
LAST = datetime(2026, 1, 1, tzinfo=UTC)


async def groups(runtime: Runtime, scope: Scope | None = None, **wanted: Any) -> list[FailureGroup]:
    found, more = await runtime.failures.page(FailureQuery(**wanted), scope=scope or Scope())
    assert not more
    return found


async def failed(runtime: Runtime, message: str, kind: str = "work", **fields: Any) -> str:
    claimed = await claimed_job(runtime, kind, **{"attempts": 1} | fields)
    await fail(runtime, claimed, JobError(kind="OSError", message=message, trace="line\n" * 2000))
    return claimed.job.id


async def insert(runtime: Runtime, count: int, **fields: Any) -> None:
    """Write failures as this package leaves them, the last at `LAST`, a second after each other."""
    made = []
    for number in range(count):
        error = {"kind": "Boom", "message": f"no {fields.get('what', 'thing')} {number}"}
        one: dict[str, Any] = {"_id": ObjectId(), "queue": "q", "type": "a", "state": "failed", "run": 0, **fields}
        ended = LAST - timedelta(seconds=count - number - 1)
        mark = fingerprint(one["type"], JobError(**error))
        made.append({"insertAt": ended, "endAt": ended, "error": error, "fingerprint": mark, **one})
    await runtime.jobs.collection.insert_many(made)


async def test_jobs_with_the_same_mistake_are_one_group(idle_runtime: Runtime) -> None:
    first = await failed(idle_runtime, "no file /a/1.png of user 1", queue="one")
    last = await failed(idle_runtime, "no file /b/22.png of user 23", queue="two")
    killed = await claimed_job(idle_runtime, queue="two")
    await die(idle_runtime, killed, JobError(kind="OSError", message="no file /c of user 4"))
    other = await failed(idle_runtime, "no file /a/1.png of user 1", "other")
    one, two = await groups(idle_runtime)
    assert (one.count, one.states, one.queues) == (3, {"failed": 2, "killed": 1}, ("one", "two"))
    assert (one.message, one.sample.id) == ("no file <path> of user <n>", killed.job.id)
    ends = [(await idle_runtime.jobs.get(one)).end_at for one in (first, killed.job.id)]
    assert [one.first_at, one.last_at] == ends
    assert (two.count, two.sample.id, two.sample.type) == (1, other, "other")
    shown = FailureResponse.of(two)
    assert shown["sample"]["message"] == "no file /a/1.png of user 1"
    assert 2000 <= len(shown["sample"]["trace"]) <= 2048
    assert (shown["type"], shown["kind"], shown["queues"]) == ("other", "OSError", ["default"])
    assert (await groups(idle_runtime, fingerprint=one.fingerprint, queue="two", states=(State.FAILED,)))[
        0
    ].sample.id == last


async def test_only_how_a_job_has_ended_counts(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, backoff=0, attempts=2)
    await fail(idle_runtime, claimed)
    claimed = await claim(idle_runtime)
    await retry_now(idle_runtime, claimed)
    assert await groups(idle_runtime) == []
    await fail(idle_runtime, await claim(idle_runtime), JobError(kind="x", message="at last"))
    assert [one.message for one in await groups(idle_runtime)] == ["at last"]
    await idle_runtime.manager.requeue(claimed.job.id)
    assert "fingerprint" not in await document(idle_runtime, claimed.job.id)
    assert await groups(idle_runtime) == []
    await idle_runtime.manager.kill(claimed.job.id, "not wanted")
    assert [one.message for one in await groups(idle_runtime)] == ["not wanted"]


async def test_hanging_jobs_and_those_that_fell_with_others_are_failures_too(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1)
    await add(idle_runtime, "after", depends_on=[claimed.job.id])
    await end_lease(idle_runtime, claimed.job)
    await patient_reaper(idle_runtime).run_once()
    found = {one.sample.type: one for one in await groups(idle_runtime)}
    assert [FailureResponse.of(found[kind])["kind"] for kind in ("work", "after")] == ["hanging", "dependency"]
    assert await idle_runtime.failures._store.mark(10) == 0


async def test_what_was_ended_without_a_fingerprint_gets_it_afterwards(idle_runtime: Runtime) -> None:
    for number in range(3):
        await add(idle_runtime, "mail", queue="old", meta={"n": number})
    await idle_runtime.queues.delete("old", force=True)
    await idle_runtime.jobs.collection.insert_many(
        [{"_id": ObjectId(), "queue": "q", "type": 5, "state": "failed", "error": {"message": 7}}, {"state": "killed"}]
    )
    assert await idle_runtime.failures.run_once() is None
    assert await idle_runtime.jobs.collection.count_documents(failure_statements.unmarked()) == 0
    assert sorted((one.count, one.message) for one in await groups(idle_runtime)) == [
        (1, ""),
        (1, "<n>"),
        (3, "queue old was deleted"),
    ]
    assert [one.first_at for one in await groups(idle_runtime, type="mail")] != [None]


async def test_a_job_that_was_started_again_meanwhile_gets_no_fingerprint(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await failed(idle_runtime, "x")
    unset = {"$unset": {"fingerprint": ""}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job_id)}, unset)

    def and_requeued(*_: Any) -> str:
        idle_runtime.jobs.collection.delegate.update_one({"_id": ObjectId(job_id)}, {"$set": {"state": "pending"}})
        return "f" * 16

    monkeypatch.setattr(failures, "fingerprint", and_requeued)
    await idle_runtime.failures.run_once()
    assert "fingerprint" not in await document(idle_runtime, job_id)


async def test_a_group_tells_the_place_in_the_code(idle_runtime: Runtime) -> None:
    for number, function in enumerate(("charge", "charge", "refund")):
        claimed = await claimed_job(idle_runtime, attempts=1)
        trace = f'Traceback (most recent call last):\n  File "/srv/{number}/bill.py", line 7, in {function}\nBoom: no\n'
        await fail(idle_runtime, claimed, JobError(kind="Boom", message="no", trace=trace))
    found = [(one.count, one.message, one.place) for one in await groups(idle_runtime)]
    assert found == [(2, "no", "bill.py in charge"), (1, "no", "bill.py in refund")]


async def test_a_group_of_an_older_version_stays_and_claims_no_place(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1)
    trace = 'Traceback (most recent call last):\n  File "/srv/bill.py", line 7, in charge\nKeyError: 7\n'
    await fail(idle_runtime, claimed, JobError(kind="KeyError", message="7", trace=trace))
    old = {"$set": {"fingerprint": "0" * 16}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(claimed.job.id)}, old)
    await idle_runtime.failures.run_once()
    (group,) = await groups(idle_runtime)
    assert (group.fingerprint, group.message, group.place) == ("0" * 16, "<n>", None)


async def test_groups_are_narrowed_ordered_and_paged(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, 4, what="cat", type="a")
    await insert(idle_runtime, 4, what="dog", type="b", queue="r")
    await insert(idle_runtime, 9, what="cow", type="b", endAt=LAST - timedelta(days=1))
    await insert(idle_runtime, 1, what="owl", type="c", state="killed", endAt=LAST + timedelta(days=1))
    by_count = [one.message for one in await groups(idle_runtime)]
    assert (by_count[0], by_count[3], sorted(by_count[1:3])) == (
        "no cow <n>",
        "no owl <n>",
        ["no cat <n>", "no dog <n>"],
    )
    by_last = await groups(idle_runtime, sort=BY_LAST)
    assert [by_last[0].message, by_last[-1].message] == ["no owl <n>", "no cow <n>"]
    for sort, whole in (("-count", by_count), (BY_LAST, [one.message for one in by_last])):
        query, seen, more = FailureQuery(sort=sort, limit=1), [], True
        while more:
            page, more = await idle_runtime.failures.page(query)
            seen += [one.message for one in page]
            last = page[-1]
            place = (last.count if sort == "-count" else last.last_at, last.fingerprint)
            query = replace(query, after=place)
        assert seen == whole
    assert [one.message for one in await groups(idle_runtime, queue="r")] == ["no dog <n>"]
    assert len(await groups(idle_runtime, type="b")) == 2
    assert [one.message for one in await groups(idle_runtime, states=(State.KILLED,))] == ["no owl <n>"]
    assert [one.count for one in await groups(idle_runtime, ended_after=LAST - timedelta(seconds=1), type="a")] == [2]
    assert [one.count for one in await groups(idle_runtime, inserted_after=LAST, type="a")] == [1]
    assert [one.count for one in await groups(idle_runtime, inserted_before=LAST, type="a")] == [3]


async def test_a_caller_sees_the_failures_of_its_scope_only(idle_runtime: Runtime) -> None:
    for user, queue in ((1, "a1"), (2, "a2"), (1, "b")):
        await failed(idle_runtime, "x", queue=queue, meta={"user": user})
    for scope, queues in (
        (Scope(queues=("a*",)), ("a1", "a2")),
        (Scope(queues=("b",)), ("b",)),
        (Scope(meta=(("user", 1),)), ("a1", "b")),
        (Scope(queues=("a?",), meta=(("user", 1),)), ("a1",)),
    ):
        (group,) = await groups(idle_runtime, scope)
        assert (group.queues, group.count) == (queues, len(queues))
        job = await idle_runtime.failures.latest(FailureQuery(fingerprint=group.fingerprint), scope=scope)
        assert job.queue in queues
    nothing = Scope(queues=("c",))
    assert await groups(idle_runtime, nothing) == []
    with pytest.raises(NotFoundError):
        await idle_runtime.failures.try_one(FailureQuery(fingerprint=group.fingerprint), by=ANN, scope=nothing)


async def test_one_of_a_group_is_tried_again_and_of_many_trials_each_has_its_own(idle_runtime: Runtime) -> None:
    ids = {await failed(idle_runtime, f"no user {number}") for number in range(4)}
    (group,) = await groups(idle_runtime)
    query = FailureQuery(fingerprint=group.fingerprint)
    tried = await asyncio.gather(*(idle_runtime.failures.try_one(query, {"attempts": 7}, by=ANN) for _ in range(4)))
    assert {job.id for job in tried} == ids
    assert {(job.state, job.attempts) for job in tried} == {(State.PENDING, 7)}
    with pytest.raises(NotFoundError):
        await idle_runtime.failures.try_one(query, by=ANN)


@pytest.mark.parametrize(
    "wanted",
    [{}, {"queue": "q"}, {"type": "a"}, {"states": (State.FAILED,)}, {"ended_after": LAST}, {"inserted_after": LAST}],
)
async def test_grouping_reads_nothing_but_one_index(idle_runtime: Runtime, wanted: dict[str, Any]) -> None:
    for kind in ("a", "b", "c"):
        await insert(idle_runtime, 200, type=kind, queue="q" if kind == "a" else "r")
    successes = [{"_id": ObjectId(), "state": "success", "queue": "q", "insertAt": LAST, "run": 0} for _ in range(500)]
    await idle_runtime.jobs.collection.insert_many(successes)
    query = FailureQuery(**wanted)
    found = scope_filters.within(failure_statements.matching(query), Scope(queues=("q", "r*")))
    command = {
        "aggregate": "jobs",
        "pipeline": failure_statements.groups(query, found),
        "cursor": {},
        "hint": failure_statements.INDEX,
    }
    plan = await idle_runtime.database.raw.command("explain", command, verbosity="executionStats")
    assert not set(stages(plan)) & {"FETCH", "COLLSCAN", "SORT"}
    examined = (plan["stages"][0]["$cursor"] if "stages" in plan else plan)["executionStats"]
    assert examined["totalDocsExamined"] == 0
    assert examined["totalKeysExamined"] <= 800


async def test_grouping_that_takes_too_long_says_how_to_narrow_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(idle_runtime, 20_000, type="a")
    monkeypatch.setattr(failures, "GROUPING_SECONDS", 0.004)
    with pytest.raises(InvalidInputError, match="narrow them"):
        await idle_runtime.failures.page(FailureQuery())
