"""Query plans of claims from limited queues: a crowd of one user's jobs is passed by in one step."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.store import indexes
from jobqueue.store.documents import documents, queue_statements, statements
from jobqueue.store.documents.claim_search import ClaimSearch
from jobqueue.store.limits import group_key_statements, limit_statements
from jobqueue.store.mongo.database import Database, new_id
from tests.support.data.factories import LONG_AGO
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.limits.group_key_statements import Place

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATH = "meta.user_id"
CROWD = 3000
FEW = ("ann", "bob", "eve")


def key(user: str) -> str:
    return f'{PATH}="{user}"'


def jobs() -> list[dict[str, Any]]:
    """Return very many jobs of one user, a few of others, some that run, and a history."""
    config = QueueConfig()

    def job(number: int, user: str, **changes: Any) -> dict[str, Any]:
        new = NewJob(type=f"type{number % 3}", meta={"user_id": user}, priority=number % 2)
        at = NOW + timedelta(seconds=number)
        return documents.new_document(config.fill(new), job_id=new_id(), now=at, limit_key=key(user)) | changes

    return [
        *(job(number, "crowd") for number in range(CROWD)),
        *(job(number, user) for number in range(3) for user in FEW),
        *(job(number, "crowd", state="processing", slots=[f"#{number}"]) for number in range(5)),
        *(job(number, "crowd", state="success", endAt=NOW + timedelta(seconds=number)) for number in range(3000)),
    ]


@pytest.fixture(scope="module")
def crowd(mongo_url: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"

    async def fill() -> None:
        opened = await Database.connect(mongo_url, name, prepare=indexes.ensure)
        await opened.collection("jobs").insert_many(jobs())
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


def search(types: tuple[str, ...] | None, excluded: tuple[str, ...] = ()) -> ClaimSearch:
    return ClaimSearch(queue="default", types=types, excluded=excluded, token="t", worker="w")  # noqa: S106 - no secret


def claim(found: Document, hint: str) -> dict[str, Any]:
    return {
        "findAndModify": "jobs",
        "query": found,
        "sort": dict(statements.CLAIM_ORDER),
        "update": statements.claim("token", "worker", NOW, slots=["#7"]),
        "hint": hint,
    }


TYPES = [None, ("type1",), ("type0", "type1", "type2"), ("nothing", "type2")]


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize(
    ("after", "passed_over"),
    [
        (None, set()),
        (key("bob"), set()),
        (key("crowd"), set()),
        (None, {key("ann"), key("crowd")}),
        (key("bob"), {key("crowd")}),
    ],
)
async def test_the_next_user_is_found_past_a_crowd(
    database: Database, types: tuple[str, ...] | None, after: str | None, passed_over: set[str]
) -> None:
    found, hint = limit_statements.of_next_group(search(types), PATH, after, passed_over)
    command = {"find": "jobs", "filter": found, "sort": {"limitKey": 1}, "limit": 1, "hint": hint}
    await explain(database, command, keys=12)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("user", ["crowd", "eve"])
async def test_the_first_job_of_a_user_is_claimed_in_order(
    database: Database, types: tuple[str, ...] | None, user: str
) -> None:
    found, hint = limit_statements.of_group(search(types), key(user))
    await explain(database, claim(found, hint), keys=5)


@pytest.mark.parametrize("state", ["delayed", "pending"])
async def test_keys_are_compared_with_values_in_parts(database: Database, state: str) -> None:
    def place(seconds: int) -> Place:
        return state, NOW + timedelta(seconds=seconds), ObjectId("f" * 24)

    start = {"queue": "default", **group_key_statements.beyond(place(100))}
    of_index: Any = {"sort": {"insertAt": 1, "_id": 1}, "projection": {"insertAt": 1}, "hint": "newestOfQueue"}
    await explain(database, {"find": "jobs", "filter": start, "skip": 9, "limit": 1, **of_index}, keys=12)
    all_of = group_key_statements.misplaced("default", PATH)
    for part in (
        group_key_statements.between(place(100), place(110)),
        group_key_statements.beyond(place(CROWD - 10)),
        group_key_statements.newer(NOW + timedelta(seconds=CROWD - 10)),
    ):
        await explain(database, {"find": "jobs", "filter": all_of | part, "hint": "newestOfQueue"}, keys=16)


@pytest.mark.parametrize("types", TYPES)
async def test_a_claim_whose_deadline_is_over_looks_at_nothing(
    database: Database, types: tuple[str, ...] | None
) -> None:
    base = statements.claimable("default", types)
    index = statements.CLAIM_INDEX if types is None else statements.CLAIM_TYPE_INDEX
    late = base | limit_statements.before(LONG_AGO, "default", NOW)
    # Nothing to look at is sorted in memory, which costs nothing.
    plan = await database.raw.command("explain", claim(late, index), verbosity="executionStats")
    assert (plan["executionStats"]["totalKeysExamined"], plan["executionStats"]["totalDocsExamined"]) == (0, 0)
    in_time = base | limit_statements.before(NOW + timedelta(days=1), "default", NOW)
    await explain(database, claim(in_time, index), keys=5)


async def test_only_the_running_jobs_of_a_queue_are_read_for_its_slots(database: Database) -> None:
    command = {"find": "jobs", "filter": limit_statements.running("default"), "hint": "newestOfQueue"}
    await explain(database, command, keys=6)


async def test_what_is_over_is_found_by_when_it_ended(database: Database) -> None:
    over = queue_statements.over("default", State.SUCCESS, LONG_AGO, NOW + timedelta(seconds=10))
    command = {"find": "jobs", "filter": over, "sort": {"endAt": 1}, "hint": "ended", "limit": 500}
    await explain(database, command, keys=12)


async def test_queues_without_groups_are_in_none_of_their_indexes(database: Database) -> None:
    counts = (await database.raw.command("validate", "jobs"))["keysPerIndex"]
    assert counts[limit_statements.GROUP_INDEX] == counts[limit_statements.GROUP_TYPE_INDEX] == CROWD + 3 * len(FEW)
    assert counts["slots"] == 5
