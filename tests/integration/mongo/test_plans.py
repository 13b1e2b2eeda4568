"""Query plans on a long history: an index for everything, its order used, and few keys looked at."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.search.query import JobQuery
from jobqueue.store import indexes
from jobqueue.store.documents import documents, statements
from jobqueue.store.indexes import DECLARED
from jobqueue.store.mongo.clock import SERVER_NOW, Now
from jobqueue.store.mongo.database import Database, new_id
from jobqueue.store.work.claim_cursor import ClaimCursor
from tests.support.mongo.plans import listing, stages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.services.application import Runtime

pytestmark = pytest.mark.own_indexes

FINISHED = 5000
WAITING = 20
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = "b" * 24
PARENT = "a" * 24
Plan = dict[str, Any]


def long_history() -> list[dict[str, Any]]:
    """Return documents: a long history and a little to do."""
    config = QueueConfig()

    def document(number: int, **changes: Any) -> dict[str, Any]:
        new = NewJob(type=f"type{number % 3}", meta={"user_id": number % 100}, priority=number % 5)
        made = documents.new_document(config.fill(new), job_id=new_id(), now=NOW + timedelta(seconds=number))
        return made | changes

    claim = {"token": "t", "worker": "w"}
    return [
        *(
            document(
                number,
                state=["success", "failed", "killed"][number % 3],
                batchId=ObjectId(BATCH) if number % 100 == 0 else None,
                parentId=ObjectId(PARENT) if number % 500 == 0 else None,
                endAt=NOW,
            )
            for number in range(FINISHED)
        ),
        *(document(number, key=f"key{number}") for number in range(WAITING)),
        *(document(number, state="delayed", delayTil=NOW + timedelta(days=number - 10)) for number in range(WAITING)),
        *(
            document(number, state="processing", claim=claim, resetAt=NOW + timedelta(seconds=number - 10))
            for number in range(WAITING)
        ),
        *(document(number, state="delayed", wait={"names": ["a"], "signals": ["a"]}) for number in range(WAITING)),
        *(document(number, state="delayed", wait={"names": ["a"], "doubt": "a"}) for number in range(WAITING)),
        *(document(number, state="delayed", wait={"names": ["a"], "jobs": 3}) for number in range(WAITING)),
        document(0, state="success", outbox=["children"]),
    ]


@pytest.fixture(scope="module")
def history(mongo_url: str) -> Iterator[str]:
    """Give the name of a database with a long history, which the tests only look at."""
    name = f"test_{secrets.token_hex(6)}"

    async def fill() -> None:
        opened = await Database.connect(mongo_url, name, prepare=indexes.ensure)
        await opened.collection("jobs").insert_many(long_history())
        await opened.close()

    asyncio.run(fill())
    yield name
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        client.drop_database(name)


@pytest.fixture
async def database(mongo_url: str, history: str) -> AsyncIterator[Database]:
    """Give a connection to the long history."""
    opened = await Database.connect(mongo_url, history, prepare=indexes.ensure)
    try:
        yield opened
    finally:
        await opened.close()


async def explain(database: Database, command: dict[str, Any], *, keys: int) -> None:
    plan: Plan = await database.raw.command("explain", command, verbosity="executionStats")
    used = set(stages(plan["queryPlanner"]["winningPlan"]))
    assert used & {"IXSCAN", "IDHACK"}, used
    assert not used & {"COLLSCAN", "SORT"}, plan["queryPlanner"]["winningPlan"]
    examined = plan["executionStats"]
    assert examined["totalKeysExamined"] <= keys, examined["totalKeysExamined"]
    assert examined["totalDocsExamined"] <= keys


def find_and_modify(
    search: dict[str, Any], hint: str, order: list[tuple[str, int]] = statements.CLAIM_ORDER
) -> dict[str, Any]:
    return {
        "findAndModify": "jobs",
        "query": search,
        "sort": dict(order),
        "update": statements.claim("token", "worker", NOW),
        "hint": hint,
    }


def warm_position() -> ClaimCursor:
    """Return a position after many claims, at one of the waiting jobs."""
    position = ClaimCursor(claims=10**6)
    position.saw({"priority": 4, "insertAt": NOW})
    position.unsettled, position.looked_at = False, 0.0
    return position


@pytest.mark.parametrize("position", [ClaimCursor(), warm_position()])
@pytest.mark.parametrize(
    ("types", "excluded"),
    [
        (None, []),
        (["type1"], []),
        (["type0", "type1", "type2"], []),
        (["no such type", "type0"], []),
        (None, ["type0"]),
    ],
)
async def test_a_claim_looks_only_at_waiting_jobs_in_their_order(
    database: Database, types: list[str] | None, excluded: list[str], position: ClaimCursor
) -> None:
    hint = statements.CLAIM_INDEX if types is None else statements.CLAIM_TYPE_INDEX
    for part, order_of_claims in position.narrowed():
        search = statements.claimable("default", types, excluded) | part
        await explain(database, find_and_modify(search, hint, order_of_claims), keys=5)
    position.unsettle(10)
    above = position.due(0.0)
    if above is not None:
        look = {"find": "jobs", "filter": statements.claimable("default", types, excluded) | above, "limit": 1}
        await explain(database, look | {"sort": dict(statements.CLAIM_ORDER), "hint": hint}, keys=5)


async def test_renewals_look_only_at_the_jobs_that_they_renew(database: Database) -> None:
    running = await database.collection("jobs").find({"state": State.PROCESSING.value}).to_list(None)
    claims = [(str(one["_id"]), one["queue"], "t") for one in running]
    hint = {"_id": 1}
    search = {"find": "jobs", "filter": statements.held_any(claims), "hint": hint}
    await explain(database, search, keys=2 * WAITING)
    renewal = {"q": statements.held(*claims[0]), "u": statements.renew(NOW), "hint": hint}
    await explain(database, {"update": "jobs", "updates": [renewal]}, keys=2)


async def test_the_claim_indexes_hold_only_waiting_jobs(database: Database) -> None:
    counts = (await database.raw.command("validate", "jobs"))["keysPerIndex"]
    assert counts[statements.CLAIM_INDEX] == counts[statements.CLAIM_TYPE_INDEX] == WAITING
    assert (counts["due"], counts["lease"]) == (4 * WAITING, WAITING)
    assert counts["outbox"] == 1


@pytest.mark.parametrize("now", [NOW, SERVER_NOW])
async def test_promoting_looks_only_at_what_is_due(database: Database, now: Now) -> None:
    update = {"q": statements.due(now), "u": statements.promote(now), "multi": True}
    await explain(database, {"update": "jobs", "updates": [update]}, keys=WAITING + 1)
    search = {"find": "jobs", "filter": {"state": "delayed", "delayTil": {"$type": "date"}}, "sort": {"delayTil": 1}}
    await explain(database, search | {"limit": 1}, keys=2)


@pytest.mark.parametrize("now", [NOW, SERVER_NOW])
async def test_reaping_looks_only_at_running_jobs(database: Database, now: Now) -> None:
    search = {"find": "jobs", "filter": statements.expired(now, 60), "sort": {"resetAt": 1}, "limit": 100}
    await explain(database, search, keys=WAITING + 1)


async def test_looking_up_a_lost_claim_looks_only_at_running_jobs(database: Database) -> None:
    search = {"find": "jobs", "filter": {"state": "processing", "claim.token": "x"}, "hint": "lease"}
    await explain(database, search, keys=WAITING + 1)


async def test_what_is_to_be_fired_is_found_by_index(database: Database) -> None:
    await explain(database, {"find": "jobs", "filter": {"outbox": {"$exists": True}}, "limit": 100}, keys=2)


async def test_the_holder_of_a_key_is_found_by_index(database: Database) -> None:
    search = {"find": "jobs", "filter": statements.key_holder("default", "key3"), "limit": 1}
    await explain(database, search, keys=2)


async def test_the_children_of_jobs_are_found_by_index(database: Database) -> None:
    search = {"find": "jobs", "filter": {"parentId": {"$in": [ObjectId(PARENT)]}}, "limit": 100}
    await explain(database, search | {"sort": {"insertAt": 1, "_id": 1}}, keys=12)


@pytest.mark.parametrize("collection", ["logs", "attempts"])
async def test_what_a_document_has_no_room_for_is_found_by_index(database: Database, collection: str) -> None:
    lines = [{"jobId": ObjectId(new_id()), "seq": number} for number in range(1000)]
    job_id = lines[0]["jobId"]
    lines += [{"jobId": job_id, "seq": number} for number in range(1, 300)]
    await database.collection(collection).insert_many(lines)
    search = {"find": collection, "filter": {"jobId": job_id, "seq": {"$gte": 200}}, "limit": 50}
    for direction in (1, -1):
        await explain(database, search | {"sort": {"seq": direction}}, keys=51)


async def test_the_states_of_a_batch_are_counted_by_index(database: Database) -> None:
    pipeline = [{"$match": {"batchId": ObjectId(BATCH)}}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
    plan = await database.raw.command(
        "explain", {"aggregate": "jobs", "pipeline": pipeline, "cursor": {}}, verbosity="executionStats"
    )
    assert "IXSCAN" in set(stages(plan))
    assert "COLLSCAN" not in set(stages(plan))


AFTER = (NOW + timedelta(seconds=2500), "c" * 24)


@pytest.mark.parametrize(
    "query",
    [
        JobQuery(),
        JobQuery(oldest_first=True),
        JobQuery(queue="default"),
        JobQuery(queue="default", states=(State.FAILED,)),
        JobQuery(queue="default", states=(State.FAILED, State.KILLED)),
        JobQuery(states=(State.FAILED,)),
        JobQuery(states=(State.FAILED, State.KILLED)),
        JobQuery(type="type1"),
        JobQuery(batch_id=BATCH),
        JobQuery(parent_id=PARENT),
        JobQuery(meta=(("user_id", "42"),)),
        JobQuery(inserted_after=NOW + timedelta(seconds=1000), inserted_before=NOW + timedelta(seconds=2000)),
        JobQuery(queue="default", inserted_before=NOW + timedelta(seconds=2000)),
        JobQuery(after=AFTER),
        JobQuery(queue="default", states=(State.SUCCESS,), after=AFTER),
        JobQuery(meta=(("user_id", "42"),), after=AFTER),
    ],
    ids=str,
)
async def test_every_listing_has_its_order_from_an_index(database: Database, query: JobQuery) -> None:
    search = listing(query.search())
    # A merge of two states reads a little ahead.
    await explain(database, search, keys=query.limit + 30)


@pytest.mark.parametrize(
    "query",
    [
        JobQuery(queue="default", type="type1"),
        JobQuery(queue="default", type="type1", states=(State.FAILED,)),
        JobQuery(meta=(("user_id", "42"),), states=(State.SUCCESS,)),
        JobQuery(type="type1", states=(State.SUCCESS,), inserted_after=NOW),
    ],
    ids=str,
)
async def test_combined_filters_read_on_in_the_order_of_an_index(database: Database, query: JobQuery) -> None:
    search = listing(query.search())
    await explain(database, search, keys=FINISHED)


async def test_any_filters_together_read_on_in_the_order_of_an_index(database: Database) -> None:
    choices: dict[str, list[Any]] = {
        "queue": [None, "default"],
        "type": [None, "type1"],
        "states": [(), (State.FAILED,), (State.FAILED, State.PENDING)],
        "batch_id": [None, BATCH],
        "parent_id": [None, PARENT],
        "meta": [(), (("user_id", "42"),), (("user_id", "42"), ("name", "x" * 500))],
        "inserted_after": [None, NOW],
        "after": [None, AFTER],
        "oldest_first": [False, True],
    }
    for values in itertools.product(*choices.values()):
        query = JobQuery(**dict(zip(choices, values, strict=True)))
        search = listing(query.search())
        plan = await database.raw.command("explain", search, verbosity="queryPlanner")
        used = set(stages(plan["queryPlanner"]["winningPlan"]))
        assert "IXSCAN" in used, query
        assert not used & {"COLLSCAN", "SORT"}, query


@pytest.mark.parametrize(
    "query",
    [
        JobQuery(batch_id=BATCH),
        JobQuery(parent_id=PARENT),
        JobQuery(waiting="signal"),
        JobQuery(waiting="doubt"),
        JobQuery(waiting="jobs"),
    ],
    ids=str,
)
async def test_filters_that_select_little_look_at_little_whatever_goes_with_them(
    database: Database, query: JobQuery
) -> None:
    for more in ({"queue": "default"}, {"type": "type1"}, {"states": (State.FAILED,)}, {"oldest_first": True}):
        wanted = replace(query, **more)
        search = listing(wanted.search())
        await explain(database, search, keys=FINISHED // 100 + 30)


async def test_the_jobs_of_a_batch_are_counted_by_index(database: Database) -> None:
    pipeline = [{"$match": {"batchId": ObjectId(BATCH)}}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
    command = {"aggregate": "jobs", "pipeline": pipeline, "cursor": {}}
    plan = await database.raw.command("explain", command, verbosity="queryPlanner")
    assert "IXSCAN" in set(stages(plan))
    assert "COLLSCAN" not in set(stages(plan))


@pytest.mark.parametrize(
    ("collection", "search"),
    [
        ("logs", {"filter": {"jobId": ObjectId(PARENT), "seq": {"$gte": 7}}, "sort": {"seq": 1}}),
        ("attempts", {"filter": {"jobId": ObjectId(PARENT), "seq": {"$lt": 7}}, "sort": {"seq": -1}}),
        ("logs", {"filter": {"jobId": ObjectId(PARENT)}}),
        ("attempts", {"filter": {"jobId": ObjectId(PARENT), "entry.token": "t"}}),
    ],
)
async def test_what_is_kept_outside_a_job_is_found_by_index(
    database: Database, collection: str, search: dict[str, Any]
) -> None:
    await explain(database, {"find": collection} | search, keys=0)


def test_every_unique_index_on_jobs_begins_with_the_queue() -> None:
    unique = [index for index in DECLARED if index.collection == "jobs" and index.options.get("unique")]
    assert [index.keys[0][0] for index in unique] == ["queue"] * len(unique)
    assert unique


async def test_the_indexes_are_as_declared_and_a_wrong_one_is_replaced(idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    assert await indexes.differences(database) == []
    jobs = database.collection("jobs")
    await jobs.drop_index("due")
    await jobs.create_index([("delayTil", -1)], name="due")
    await jobs.drop_index("outbox")
    assert await indexes.differences(database) == [
        "index due of jobs is not as declared",
        "index outbox of jobs is missing",
    ]
    assert await indexes.ensure(database) == ["due"]
    assert await indexes.differences(database) == []
    assert await indexes.ensure(database) == []


async def test_an_index_that_is_not_unique_or_not_partial_any_more_is_noticed(idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    jobs = database.collection("jobs")
    wrong: dict[str, list[tuple[str, int]]] = {
        "key": [("queue", 1), ("key", 1)],
        "claim": [("queue", 1), *statements.CLAIM_ORDER],
    }
    for name, keys in wrong.items():
        await jobs.drop_index(name)
        await jobs.create_index(keys, name=name)
        assert await indexes.differences(database) == [f"index {name} of jobs is not as declared"]
        assert await indexes.ensure(database) == [name]
    assert await indexes.differences(database) == []


async def test_several_processes_may_create_the_indexes_at_once(idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    await database.collection("jobs").drop()
    await asyncio.gather(*(indexes.ensure(database) for _ in range(4)))
    assert await indexes.differences(database) == []
