"""Failed jobs are compared with those that succeeded, at a bounded cost and within the scope of the caller."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import Binary, Decimal128, ObjectId
from bson.int64 import Int64

from jobqueue.api.app import make_app
from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.bulk.failure_comparison import Verdict
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.work.failure import FailureQuery
from jobqueue.store.bulk import failure_samples
from jobqueue.store.documents import documents

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

DAY = datetime(2026, 1, 1, tzinfo=UTC)
GROUP = "a" * 16


def document(number: int, state: str = "success", **more: Any) -> dict[str, Any]:
    """Return a job that was added and ended a minute after the one with the number before."""
    added = DAY + timedelta(minutes=number)
    new = NewJob(type="work", queue="q", data={"n": number})
    made = documents.new_document(QueueConfig().fill(new), job_id=str(ObjectId()), now=added)
    version = more.pop("version", "1")
    run = {"attempt": 1, "token": "t", "worker": "w:1:abcdef", "version": version, "startAt": added, "endAt": added}
    ended = {"state": state, "startAt": added, "endAt": added, "attemptsMade": 1, "history": [run]}
    return made | ended | ({"fingerprint": GROUP} if state == "failed" else {}) | more


async def insert(runtime: Runtime, *made: dict[str, Any]) -> None:
    await runtime.jobs.collection.insert_many(made)


def country(number: int, *, failed: bool) -> dict[str, Any]:
    return {"country": "DE" if failed != (number % 29 == 0) else "FR", "rows": number * number % 97}


async def test_a_cause_is_found_and_few_jobs_are_looked_at(idle_runtime: Runtime) -> None:
    failed = {number for number in range(300, 600) if number % 10 == 0}
    await insert(
        idle_runtime,
        *(
            document(
                number,
                "failed" if number in failed else "success",
                data=country(number, failed=number in failed),
                version="2.4.1" if number >= 290 else "2.4.0",
            )
            for number in range(600)
        ),
        *(document(number, type="other") for number in range(300)),
    )
    database = idle_runtime.database.raw
    await database.command("profile", 2)
    found = await idle_runtime.failures.compare(GROUP)
    await database.command("profile", 0)
    assert [trait.text for trait in found.found.traits] == ['data.country = "DE"']
    assert found.message == (
        'In 97 % of the failed jobs data.country = "DE" (in 3 % of those that succeeded). '
        "The oldest one failed 10 minutes after version 2.4.1 was first seen."
    ), found
    assert (found.verdict, found.failed.count, found.failed.how) == (Verdict.FOUND, 30, "all of them")
    # Both are of the same times.
    assert found.succeeded.first_at is not None
    assert found.succeeded.first_at >= DAY + timedelta(minutes=290)
    assert found.succeeded.last_at == DAY + timedelta(minutes=589)
    reads = [read async for read in database["system.profile"].find({"ns": f"{database.name}.jobs"})]
    assert not [read["planSummary"] for read in reads if "COLLSCAN" in read.get("planSummary", "")]
    assert sum(read.get("docsExamined", 0) for read in reads) <= 30 * failure_samples.LOOKS + 500
    assert len(reads) <= 10


async def test_jobs_are_looked_for_beyond_a_long_run_of_failures(idle_runtime: Runtime) -> None:
    await insert(idle_runtime, *(document(number, "failed" if number >= 60 else "success") for number in range(200)))
    found = await idle_runtime.failures.compare(GROUP)
    assert (found.succeeded.count, found.succeeded.how) == (60, "the newest ones")
    assert (found.verdict, found.message) == (Verdict.NOTHING, "Nothing stands out.")


async def test_a_caller_compares_only_jobs_of_its_scope(idle_runtime: Runtime) -> None:
    for queue in ("a", "b"):
        for user in (1, 2):
            meta = {"meta": {"user": user}, "attrs": [f"user={user}"], "queue": queue}
            states = ("failed" if number % 3 else "success" for number in range(12))
            await insert(idle_runtime, *(document(number, state, **meta) for number, state in enumerate(states)))
    read, query = idle_runtime.failures._store.samples.read, FailureQuery(fingerprint=GROUP)
    for scope, counts in (
        (EVERYTHING, (32, 16)),
        (Scope(queues=("a",)), (16, 8)),
        (Scope(queues=("a*",)), (16, 8)),
        (Scope(meta=(("user", 1),)), (16, 8)),
        (Scope(queues=("b",), meta=(("user", 2),)), (8, 4)),
    ):
        seen = await read(query, "work", scope)
        jobs = [*seen.failed, *seen.succeeded, *seen.before_first, *seen.any_time]
        assert (len(seen.failed), len(seen.succeeded)) == counts, scope
        assert all(scope.has_queue(str(job.fields["queue"])) and scope.has_meta(job.meta or {}) for job in jobs)
    narrowed = await read(FailureQuery(fingerprint=GROUP, queue="b"), "work", EVERYTHING)
    assert {job.fields["queue"] for job in (*narrowed.failed, *narrowed.succeeded)} == {"b"}
    with pytest.raises(NotFoundError):
        await idle_runtime.failures.compare(GROUP, scope=Scope(queues=("c",)))


async def test_documents_of_other_tools_and_large_ones_spoil_nothing(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd: list[dict[str, Any]] = [
        {"data": "text", "meta": 5, "history": 7, "error": "no", "attempts": "x", "batchId": 3},
        {"data": {"a": float("nan"), "b": Decimal128("1.5"), "c": Binary(b"\0"), "d": Int64(2**62), "e": [[[1]]]}},
        {"history": [None, 5, {"token": "t", "worker": 5, "version": {}, "startAt": "now"}], "queue": 7},
        {"data": {"text": "x" * 20_000}, "meta": None},
        {"data": {f"k{number}": {"deep": {"er": [{"a": None}] * 30}} for number in range(60)}},
        {"insertAt": "yesterday"},
    ]
    await insert(idle_runtime, *(document(number, "failed", **dict(one)) for number, one in enumerate(odd * 2)))
    await insert(idle_runtime, *(document(number, data=one.get("data", {})) for number, one in enumerate(odd * 3)))
    async with TestClient(TestServer(make_app(idle_runtime))) as client:

        async def ask(path: str) -> tuple[int, Any]:
            answer = await client.get(f"/v1/failures/{path}")
            return answer.status, await answer.json()

        status, found = await ask(f"{GROUP}/compare")
        assert (status, found["failed"]["count"], found["isComplete"]) == (200, 10, True)
        assert found["unread"] > 4
        status, found = await ask(f"{GROUP}/compare?queue=q")
        assert (status, found["queue"], found["failed"]["count"]) == (200, "q", 8)
        assert (await ask(f"{'b' * 16}/compare"))[0] == 404
        assert [(await ask(path))[0] for path in ("x/compare", f"{GROUP}/compare?queue=$", f"{GROUP}/compare?n=1")] == [
            422,
            422,
            422,
        ]
        monkeypatch.setattr(failure_samples, "READ_SECONDS", 1e-6)
        status, found = await ask(f"{GROUP}/compare")
        assert (status, found["isComplete"], found["verdict"]) == (200, False, "tooFew")
        assert found["message"] == "There was no time to read enough jobs to compare."
