"""Query plans for batches and dependencies among many other jobs: an index for everything, and few keys looked at."""

from __future__ import annotations

import asyncio
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.workflow.batch import BatchCursor
from jobqueue.domain.workflow.batch_query import BatchQuery
from jobqueue.store import indexes
from jobqueue.store.documents import documents
from jobqueue.store.insight import audit_statements
from jobqueue.store.mongo.database import Database, new_id
from jobqueue.store.workflow import addition_statements, batch_listings, batch_statements, dependency_statements
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCH, OTHER, CULPRIT = ObjectId(), ObjectId(), new_id()
SIZE = 2000


def fallen(culprit: ObjectId) -> dict[str, Any]:
    return {"state": "killed", "unmet": [culprit], "error": {"kind": "dependency", "message": "it failed"}}


def jobs() -> list[dict[str, Any]]:
    """Return a batch of which all jobs but three have ended, and another one."""
    config = QueueConfig()

    def job(batch: ObjectId, number: int, **changes: Any) -> dict[str, Any]:
        made = documents.new_document(
            config.fill(NewJob(type="a")), job_id=new_id(), now=NOW, batch_id=str(batch), extra={"ref": f"n{number}"}
        )
        return made | {"state": "success", "endAt": NOW} | changes

    waiting = {"state": "delayed", "waitsFor": [ObjectId(CULPRIT)], "endAt": None}
    return [
        *(job(BATCH, number) for number in range(SIZE)),
        *(job(OTHER, number) for number in range(SIZE)),
        *(job(BATCH, SIZE + number, **waiting) for number in range(3)),
        *(job(OTHER, SIZE + number, state="delayed", waitsFor=[ObjectId()]) for number in range(500)),
        *(job(OTHER, SIZE + 500 + number, **fallen(ObjectId())) for number in range(100)),
        *(job(BATCH, SIZE + 3 + number, **fallen(ObjectId(CULPRIT))) for number in range(2)),
        job(BATCH, SIZE + 5, outbox=["reopen"]),
    ]


def batches() -> list[dict[str, Any]]:
    """Return many batches, every second of one user, and one of an earlier version."""
    made = [
        {"_id": ObjectId(), "state": "open", "insertAt": NOW, "meta": {"user": n % 2}, "attrs": [f"user={n % 2}"]}
        for n in range(SIZE)
    ]
    del made[0]["attrs"]
    return made


@pytest.fixture(scope="module")
def crowd(mongo_url: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"

    async def fill() -> None:
        opened = await Database.connect(mongo_url, name, prepare=indexes.ensure)
        await opened.collection("jobs").insert_many(jobs())
        await opened.collection("batches").insert_many(batches())
        await opened.close()

    asyncio.run(fill())
    yield name
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        client[name].drop_collection("jobs")
        client.drop_database(name)


@pytest.fixture
async def database(mongo_url: str, crowd: str) -> AsyncIterator[Database]:
    opened = await Database.connect(mongo_url, crowd, prepare=indexes.ensure)
    try:
        yield opened
    finally:
        await opened.close()


UNFINISHED = {"$in": ["delayed", "pending", "processing"]}


async def test_whether_a_batch_has_an_unfinished_job_is_one_look_up(database: Database) -> None:
    found = {"find": "jobs", "filter": {"batchId": BATCH, "state": UNFINISHED}, "limit": 1, "hint": "batch"}
    await explain(database, found, keys=4)
    none = found | {"filter": {"batchId": ObjectId(), "state": UNFINISHED}}
    await explain(database, none, keys=4)


async def test_jobs_of_a_batch_are_counted_without_reading_them(database: Database) -> None:
    command = {"count": "jobs", "query": {"batchId": BATCH, "state": "delayed"}, "hint": "batch"}
    plan = await database.raw.command("explain", command, verbosity="executionStats")
    assert plan["executionStats"]["totalDocsExamined"] == 0
    assert plan["executionStats"]["totalKeysExamined"] <= 5


@pytest.mark.parametrize("policies", [None, [None, "kill"], ["run"]])
async def test_releasing_looks_only_at_the_jobs_that_wait(database: Database, policies: list[str | None]) -> None:
    found = dependency_statements.waiting_for(CULPRIT, policies)
    update = {
        "q": found,
        "u": dependency_statements.release([ObjectId(CULPRIT)]),
        "multi": True,
        "hint": "dependents",
    }
    await explain(database, {"update": "jobs", "updates": [update]}, keys=4)


async def test_looking_for_what_dead_processes_have_left_reads_nothing_else(database: Database) -> None:
    overdue = addition_statements.overdue()
    await explain(database, {"find": "batches", "filter": overdue, "hint": "outbox"}, keys=1)
    for collection in ("schedules", "operations"):
        waiting = {"find": collection, "filter": audit_statements.WAITING, "hint": audit_statements.INDEX}
        await explain(database, waiting, keys=1)


async def test_what_fell_because_of_a_job_is_found_among_what_fell(database: Database) -> None:
    found = {
        "find": "jobs",
        "filter": dependency_statements.fallen([ObjectId(CULPRIT)]),
        "hint": "unmet",
        "sort": {"_id": 1},
    }
    await explain(database, found, keys=3)
    several = dependency_statements.fallen([ObjectId(CULPRIT), ObjectId()])
    await explain(database, {"find": "jobs", "filter": several}, keys=5)


async def test_whether_a_batch_was_not_told_of_a_requeue_is_one_look_up(database: Database) -> None:
    found = {"find": "jobs", "filter": {"batchId": BATCH, "outbox": "reopen"}, "limit": 1, "hint": "outbox"}
    await explain(database, found, keys=2)


async def test_batches_of_a_value_are_read_in_their_order(database: Database) -> None:
    place = BatchCursor(millisecond=round(NOW.timestamp() * 1000), passed=100)
    for query in (BatchQuery(meta=(("user", "1"), ("kind", "a"))), BatchQuery(state="open"), BatchQuery()):
        found = batch_listings.candidates(query, place)
        command = {"find": "batches", "filter": found, "sort": dict(batch_listings.NEWEST), "skip": 100, "limit": 100}
        await explain(database, command | {"hint": batch_listings.index_of(query)}, keys=202)
    unmarked = {"find": "batches", "filter": {"attrs": None}, "hint": batch_listings.UNMARKED}
    await explain(database, unmarked, keys=1)


async def test_batches_with_a_type_or_failures_are_found_without_reading_their_jobs(database: Database) -> None:
    ids = [BATCH, OTHER, *(ObjectId() for _ in range(98))]
    for pipeline, index in (
        (batch_listings.of_type(ids, "a"), batch_listings.BY_TYPE),
        (batch_listings.of_failures(ids), batch_statements.BY_STATE),
    ):
        command = {"aggregate": "jobs", "pipeline": pipeline, "hint": index, "cursor": {}}
        plan = await database.raw.command("explain", command, verbosity="executionStats")
        used = str(plan)
        assert "DISTINCT_SCAN" in used
        assert "'totalDocsExamined': 0" in used
        keys = int(re.findall(r"'totalKeysExamined': (\d+)", used)[0])
        assert keys <= 3 * len(ids)


async def test_a_ref_is_found_among_those_of_its_batch(database: Database) -> None:
    found = {"batchId": BATCH, "ref": {"$in": ["n5", "n7", "nobody"]}}
    await explain(database, {"find": "jobs", "filter": found, "hint": "ref"}, keys=7)


async def test_jobs_without_dependents_are_in_none_of_these_indexes(database: Database) -> None:
    counts = (await database.raw.command("validate", "jobs"))["keysPerIndex"]
    assert counts["dependents"] == 503
