"""Searches: what is found, what it may cost, and that nobody sees what is not theirs."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pymongo.errors import OperationFailure

from jobqueue.api.app import make_app
from jobqueue.domain.access.access import EVERYTHING, Caller, Scope
from jobqueue.domain.errors import BusyError, DatabaseUnavailableError, InvalidInputError, TooCostlyError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.search.fields import SORTS
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.search.search import Search, search
from jobqueue.services.insight.search import AT_ONCE, Searches
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import new_id
from jobqueue.store.search.aggregates import AggregateStore
from jobqueue.store.search.search import SearchStore
from tests.support.data.factories import add, claimed_job, fail
from tests.support.data.hostile import HOSTILE, Random

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = ["pending", "processing", "delayed", "success", "failed", "killed"]
BATCH = new_id()
SCOPE = Scope(queues=("media", "mail:*"), meta=(("tenant", "a"),))


def stored(number: int) -> dict[str, Any]:
    new = NewJob(
        type="abc"[number % 3],
        queue=["media", "mail:in", "other"][number % 3],
        data={"n": number, "list": [{"n": number % 5}, number % 7]},
        meta={"user_id": number % 10, "tenant": "ab"[number % 2], "tags": ["x", "y"][: number % 3]},
        priority=number % 4,
    )
    made = documents.new_document(
        QueueConfig().fill(new),
        job_id=new_id(),
        now=NOW + timedelta(seconds=number // 3),
        batch_id=BATCH if number % 8 == 0 else None,
    )
    error = {"kind": "Boom", "message": f"Could not fetch page {number}"} if number % 6 == 4 else None
    start = NOW + timedelta(seconds=number % 9) if number % 4 else None
    return made | {"state": STATES[number % 6], "error": error, "startAt": start, "result": {"n": -number}}


@pytest.fixture
async def jobs(idle_runtime: Runtime) -> list[dict[str, Any]]:
    """Give the documents of some jobs, the oldest first."""
    made = [stored(number) for number in range(120)]
    await idle_runtime.jobs.collection.insert_many(made)
    return made


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def found(runtime: Runtime, asked: Search, scope: Scope | None = None) -> list[Any]:
    """Return all jobs that a search finds, over all its pages."""
    items: list[Any] = []
    cursor = None
    while True:
        page = await runtime.searches.page(asked.at(cursor), scope=scope or EVERYTHING)
        items += page.items
        if (cursor := page.next) is None:
            return items


ASKED: list[tuple[Any, Callable[[dict[str, Any]], Any]]] = [
    ({"state": "failed", "meta.user_id": 4}, lambda one: one["state"] == "failed" and one["meta"]["user_id"] == 4),
    ({"data.n": {"$gte": 50, "$lt": 60}}, lambda one: 50 <= one["data"]["n"] < 60),
    ({"data.list": {"$elemMatch": {"n": 3}}}, lambda one: one["data"]["n"] % 5 == 3),
    ({"meta.tags": {"$all": ["x", "y"]}}, lambda one: one["data"]["n"] % 3 == 2),
    ({"meta.tags": {"$size": 1}}, lambda one: one["data"]["n"] % 3 == 1),
    ({"meta.user_id": {"$in": [1, 2, None]}}, lambda one: one["meta"]["user_id"] in {1, 2}),
    ({"meta.nothing": None, "queue": "media"}, lambda one: one["queue"] == "media"),
    ({"error.message": {"$regex": "PAGE 1", "$options": "i"}}, lambda one: "page 1" in str(one["error"])),
    ({"error": {"$ne": None}}, lambda one: one["error"] is not None),
    ({"batchId": BATCH, "type": "a"}, lambda one: one["batchId"] and one["type"] == "a"),
    ({"insertAt": {"$gt": "2026-01-01T00:00:20Z"}}, lambda one: one["data"]["n"] >= 63),
    ({"startAt": None}, lambda one: one["startAt"] is None),
    ({"$or": [{"data.n": 5}, {"result.n": -7}]}, lambda one: one["data"]["n"] in {5, 7}),
    ({"$nor": [{"state": {"$in": STATES[1:]}}]}, lambda one: one["state"] == "pending"),
    ({"data.n": {"$not": {"$gte": 3}}}, lambda one: one["data"]["n"] < 3),
]


async def test_a_filter_finds_what_it_says_page_by_page(idle_runtime: Runtime, jobs: list[dict[str, Any]]) -> None:
    for asked, test in ASKED:
        wanted = [str(one["_id"]) for one in jobs if test(one)]
        assert wanted
        for direction in (1, -1):
            items = await found(idle_runtime, search(asked, sort={"insertAt": direction}, limit=17))
            assert [job.id for job in items] == wanted[::direction], asked


async def test_pages_have_every_job_once_in_any_order(idle_runtime: Runtime, jobs: list[dict[str, Any]]) -> None:
    for name in sorted(SORTS):
        key = "_id" if name == "id" else name
        nulls = sorted((one for one in jobs if one[key] is None), key=lambda one: one["_id"])
        ordered = [
            *nulls,
            *sorted((one for one in jobs if one[key] is not None), key=lambda one: (one[key], one["_id"])),
        ]
        for direction in (1, -1):
            items = await found(idle_runtime, search(sort={name: direction}, limit=17))
            assert [job.id for job in items] == [str(one["_id"]) for one in ordered[::direction]], name


async def test_pages_go_on_whatever_fields_are_shown(idle_runtime: Runtime, jobs: list[dict[str, Any]]) -> None:
    for name in ("insertAt", "priority", "id"):
        whole = await found(idle_runtime, search(sort={name: 1}, limit=50))
        part = await found(idle_runtime, search(sort={name: 1}, limit=50, fields=["data.n"]))
        assert [job.id for job in part] == [job.id for job in whole]
        assert len(whole) == len(jobs)


async def test_a_text_is_looked_for_where_people_expect_it(idle_runtime: Runtime) -> None:
    failed = await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    named = await add(idle_runtime, "Import.CSV", meta={"city": "Zürich", "path": 'a="b'})
    keyed = await add(idle_runtime, key="order-77")

    async def ids(text: str) -> list[str]:
        return [job.id for job in (await idle_runtime.listing.page(JobQuery(text=text))).items]

    assert await ids("IT BROKE") == [failed.id]
    assert await ids("import.c") == [named.id]
    assert await ids("zür") == [named.id]
    assert await ids('="B') == [named.id]
    assert await ids("77") == [keyed.id]
    assert await ids("city") == []
    assert await ids("importxcsv") == []
    assert await ids(failed.id.upper()) == [failed.id]


async def test_random_filters_show_nothing_foreign_and_break_nothing(
    idle_runtime: Runtime, jobs: list[dict[str, Any]]
) -> None:
    own = {str(one["_id"]) for one in jobs if one["queue"] != "other" and one["meta"]["tenant"] == "a"}
    some = 0
    for seed in range(600):
        try:
            asked = search(Random(seed).filter(), limit=500)
            page = await idle_runtime.searches.page(asked, scope=SCOPE)
        except InvalidInputError:
            continue
        assert {job.id for job in page.items} <= own, seed
        some += bool(page.items)
    assert some > 50


async def test_hostile_filters_are_refused_over_http(client: Client, jobs: list[dict[str, Any]]) -> None:
    assert jobs
    for asked in HOSTILE:
        try:
            response = await client.post("/v1/jobs/search", json={"filter": asked})
        except (RecursionError, UnicodeEncodeError):
            continue
        assert response.status in {400, 422}, (asked, await response.text())
        problem = await response.json()
        assert problem["type"] in {"/problems/invalid-input", "/problems/bad-body"}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sort": {"insertAt": 2}}, "sort.insertAt"),
    ({"sort": {"insertAt": True}}, "sort.insertAt"),
    ({"sort": {"claim.token": 1}}, "sort"),
    ({"sort": {"insertAt": 1, "id": 1}}, "sort"),
    ({"sort": {"$where": 1}}, "sort"),
    ({"fields": ["history.token"]}, "fields"),
    ({"fields": ["$claim"]}, "fields"),
    ({"fields": ["outbox"]}, "fields"),
    ({"fields": {"data": 1}}, "fields"),
    ({"fields": ["data.$n"]}, "fields"),
    ({"limit": 501}, "limit"),
    ({"limit": 0}, "limit"),
    ({"limit": "5"}, "limit"),
    ({"cursor": "x"}, "cursor"),
    ({"slow": 1}, "slow"),
    ({"more": 1}, "more"),
    ({"filter": {"nosuch": 1}}, "filter.nosuch"),
]


async def test_what_a_search_cannot_be_is_refused_by_name(client: Client) -> None:
    for body, path in REFUSED:
        response = await client.post("/v1/jobs/search", json=body)
        assert response.status == 422
        assert list((await response.json())["errors"]) == [path]


async def test_fields_are_picked_dotted_ones_too(client: Client, jobs: list[dict[str, Any]]) -> None:
    job = jobs[4]
    asked = {"filter": {"id": str(job["_id"])}, "fields": ["data.n", "data.list.n", "error.message", "meta.user_id"]}
    (item,) = (await (await client.post("/v1/jobs/search", json=asked)).json())["items"]
    picked = {
        "id": str(job["_id"]),
        "data": {"n": 4, "list": [{"n": 4}]},
        "error": {"message": "Could not fetch page 4"},
    }
    assert item == picked | {"meta": {"user_id": 4}}
    path = "/v1/jobs?limit=1&fields=data.n,data,state"
    (item,) = (await (await client.get(path)).json())["items"]
    assert item == {"id": str(jobs[-1]["_id"]), "data": jobs[-1]["data"], "state": jobs[-1]["state"]}


async def test_a_cursor_belongs_to_its_filter_and_order(client: Client, jobs: list[dict[str, Any]]) -> None:
    assert jobs
    body: dict[str, Any] = {"filter": {"type": "a"}, "limit": 3}
    cursor = (await (await client.post("/v1/jobs/search", json=body)).json())["next"]
    for other in ({"filter": {"type": "b"}}, {"sort": {"insertAt": 1}}, {"sort": {"id": -1}}):
        response = await client.post("/v1/jobs/search", json=body | other | {"cursor": cursor})
        assert response.status == 422
    assert (await client.post("/v1/jobs/search", json=body | {"limit": 9, "cursor": cursor})).status == 200
    assert (await client.post("/v1/jobs/search", json={})).status == 200


async def test_only_who_may_work_sees_the_token_of_a_running_job(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime)
    monkeypatch.setattr("jobqueue.api.security.caller.caller", lambda _: Caller(name="r", roles=frozenset({"read"})))
    for response in (
        await client.get("/v1/jobs"),
        await client.get(f"/v1/jobs/{claimed.job.id}"),
        await client.post("/v1/jobs/search", json={"fields": ["claim", "history"]}),
    ):
        text = await response.text()
        assert claimed.token not in text


async def test_a_costly_search_of_many_jobs_is_refused_unless_it_insists(
    idle_runtime: Runtime, jobs: list[dict[str, Any]]
) -> None:
    store = SearchStore(idle_runtime.database, most_read=50)
    for costly in (
        search({"data.n": 5}),
        search({"state": {"$ne": "failed"}}),
        search({"error.message": {"$regex": "page"}}),
        search({"$or": [{"meta.user_id": 1}, {"data.n": 1}]}),
        search(sort={"priority": -1}),
        search({"meta.tenant": "a", "data.n": 4}),
        JobQuery(text="page").search(),
    ):
        with pytest.raises(TooCostlyError, match=r"more than 50 jobs.*insertAt.*slow"):
            await store.page(costly)
    for cheap in (
        search({}),
        search({"meta.tenant": "a", "state": "failed"}),
        search({"meta.user_id": 4, "data.n": 4}),
        search({"state": "failed", "error.message": {"$regex": "page"}}),
        search({"insertAt": {"$gte": "2026-01-01T00:00:30Z"}, "data.n": 100}),
        search({"id": str(jobs[0]["_id"]), "data.n": 0}),
        search({"data.n": 5}, slow=True),
        search({"$or": [{"meta.user_id": 1}, {"batchId": BATCH}]}),
        JobQuery(text=BATCH).search(),
    ):
        assert (await store.page(cheap)).items


async def test_a_search_that_takes_too_long_says_so(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many([stored(number) for number in range(3000)])
    idle_runtime.searches._store.time_limit = 0.003
    asked = {"filter": {"$or": [{f"data.x{number}": {"$regex": ".*x.*y"}} for number in range(20)]}}
    response = await client.post("/v1/jobs/search", json=asked)
    problem = await response.json()
    assert (response.status, problem["type"]) == (422, "/problems/too-slow")
    assert "takes more than 0.003 seconds" in problem["errors"]["filter"][0]


async def test_odd_query_strings_are_the_callers_mistake(client: Client) -> None:
    for query, status in {
        "q=%00": 422,
        "q=": 422,
        "q=(a%2B)%2B": 200,
        "q=%5C": 200,
        "sort=claim": 422,
        "sort=-endAt": 200,
        "fields=data.n,nosuch": 422,
        "fields=data..n": 422,
        "fields=": 422,
        "slow=maybe": 422,
        "slow": 200,
        "type=%00&meta.a=%00": 200,
        "limit=201": 422,
    }.items():
        response = await client.get(f"/v1/jobs?{query}")
        assert response.status == status, (query, await response.text())


async def test_a_search_that_the_database_ends_may_be_repeated(idle_runtime: Runtime) -> None:
    store = SearchStore(idle_runtime.database)
    for code, error in ((175, DatabaseUnavailableError), (43, DatabaseUnavailableError), (51091, InvalidInputError)):
        with pytest.raises(error), store.limited("filter", slow=False):
            raise OperationFailure("it ended", code)
    with pytest.raises(OperationFailure), store.limited("filter", slow=False):
        raise OperationFailure("not the primary", 10107)


async def test_only_so_many_searches_run_at_once(idle_runtime: Runtime, client: Client) -> None:
    store = SearchStore(idle_runtime.database)
    searches = Searches(store, AggregateStore(idle_runtime.database, store), wait=0.01)
    async with contextlib.AsyncExitStack() as taken:
        for _ in range(AT_ONCE):
            await taken.enter_async_context(searches._places)
        with pytest.raises(BusyError):
            await searches.page(search({"data.n": 1}))
        assert (await searches.page(search({"state": "failed"}))).items == ()
        idle_runtime.searches = searches
        response = await client.post("/v1/jobs/search", json={"filter": {"data.n": 1}})
        assert (response.status, response.headers["Retry-After"]) == (503, "2")
        assert (await response.json())["type"] == "/problems/busy"
    await searches.page(search({"data.n": 1}))
