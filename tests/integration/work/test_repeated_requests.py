"""Requests of workers whose replies were lost, repeated under their keys: no attempt is lost and no line doubled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.work.long_poll import ClaimRequest, LongPoll
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.store.documents import repeat_statements, statements
from tests.support.data.factories import add, open_runtime
from tests.support.mongo.plans import explain
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as opened:
        yield opened


async def post(client: Client, path: str, body: dict[str, Any], key: str | None = None) -> tuple[int, Any]:
    async with client.post(path, json=body, headers={} if key is None else {"Idempotency-Key": key}) as reply:
        return reply.status, await reply.json() if reply.status != 204 else None


async def claim(client: Client, key: str | None = "k", worker: str = "w", **body: Any) -> Any:
    status, claimed = await post(client, "/v1/queues/default/claim", {"worker": worker, **body}, key)
    assert status in {200, 204}, claimed
    return claimed


async def test_a_repeated_claim_returns_the_same_job_under_a_renewed_lease(
    client: Client, idle_runtime: Runtime
) -> None:
    first, second, third = [await add(idle_runtime, lease=100) for _ in range(3)]
    claimed = await claim(client)
    repeated = await claim(client, lease=7)
    assert (
        (claimed["job"]["id"], claimed["token"])
        == (repeated["job"]["id"], repeated["token"])
        == (first.id, claimed["token"])
    )
    assert repeated["job"]["resetAt"] > claimed["job"]["resetAt"]
    assert "key" not in str(repeated["job"]["claim"])
    assert (await idle_runtime.jobs.lean(first.id)).attempts_made == 1
    assert (await claim(client, worker="another"))["job"]["id"] == second.id
    assert (await claim(client, None))["job"]["id"] == third.id
    # Nothing waits any more, for a while or at all.
    assert (await claim(client, wait=5))["token"] == claimed["token"]
    assert await claim(client, "other", wait=0) is None
    assert (await post(client, f"/v1/jobs/{first.id}/succeed", {"token": claimed["token"]}))[0] == 200
    assert await claim(client) is None
    assert (await post(client, "/v1/queues/default/claim", {}, "k" * 256))[0] == 422


@pytest.mark.parametrize(
    "limits", [{"concurrency": 1}, {"rate": {"limit": 2, "per": 600}}, {"concurrency": 1, "limitBy": "meta.user"}]
)
async def test_a_repeated_claim_takes_nothing_of_a_limit(
    client: Client, idle_runtime: Runtime, limits: dict[str, Any]
) -> None:
    async with client.put("/v1/queues/default", json=limits) as reply:
        assert reply.status in {200, 201}, await reply.text()
    first, second = [await add(idle_runtime, meta={"user": user}) for user in (1, 2)]
    claimed = await claim(client)
    for _ in range(3):
        assert (await claim(client))["token"] == claimed["token"]
    async with client.post("/v1/queues/default/pause") as reply:
        assert reply.status == 200
    assert (await claim(client))["token"] == claimed["token"]
    async with client.post("/v1/queues/default/resume") as reply:
        assert reply.status == 200
    assert (await post(client, f"/v1/jobs/{first.id}/succeed", {"token": claimed["token"]}))[0] == 200
    assert (await claim(client, "next"))["job"]["id"] == second.id


async def test_the_same_claim_many_times_at_once_claims_one_job(idle_runtime: Runtime, settings: Settings) -> None:
    for _ in range(30):
        await add(idle_runtime)
    async with open_runtime(settings) as other:
        claims = [
            runtime.work.attempt("default", None, worker="w", key="k")
            for _ in range(12)
            for runtime in (idle_runtime, other)
        ]
        claimed = await asyncio.gather(*claims)
        await other.work.give_backs.drain()
    assert len({(each.job.id, each.token) for each in claimed if hasattr(each, "token")}) == 1  # type: ignore[union-attr]
    assert all(hasattr(each, "token") for each in claimed)
    running = [job async for job in idle_runtime.jobs.collection.find({"state": "processing"})]
    assert [(job["attemptsMade"], len(job["history"])) for job in running] == [(1, 1)]


async def test_a_first_request_that_is_gone_does_not_take_the_job_back(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    polls = LongPoll(idle_runtime)
    request = ClaimRequest(queue="default", types=None, worker="w", lease=None, wait=0, key="k")
    first, again = [await polls.claim(request, lambda: False) for _ in range(2)]
    assert first is not None
    assert again is not None
    polls.give_back(first, ConnectionError("gone"))
    await idle_runtime.work.give_backs.drain()
    present = await idle_runtime.jobs.lean(job.id)
    assert (present.state, [entry.outcome for entry in present.history]) == (State.PROCESSING, [None])
    assert present.history[0].late is None
    polls.give_back(again)
    await idle_runtime.work.give_backs.drain()
    present = await idle_runtime.jobs.lean(job.id)
    assert (present.state, present.attempts_made) == (State.PENDING, 0)
    assert [entry.outcome for entry in present.history] == [Outcome.RELEASE]
    polls.close()


async def test_a_repetition_that_waits_beside_the_first_request_gets_its_job(idle_runtime: Runtime) -> None:
    polls = LongPoll(idle_runtime)
    request = ClaimRequest(queue="default", types=None, worker="w", lease=None, wait=2, key="k")
    first, again = [asyncio.create_task(polls.claim(request, lambda: False)) for _ in range(2)]
    await eventually(lambda: polls.waiting == 2)
    await add(idle_runtime)
    both = [await first, await again]
    assert None not in both
    assert len({claimed.token for claimed in both if claimed is not None}) == 1
    polls.close()


async def test_lines_of_a_repeated_report_are_stored_once(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    token = (await claim(client))["token"]
    path, reports = f"/v1/jobs/{job.id}/heartbeat", [[f"{number}.{line}" for line in range(150)] for number in range(3)]
    for number, lines in enumerate(reports):
        for _ in range(2):
            assert (await post(client, path, {"token": token, "logs": lines}, f"r{number}"))[0] == 200
    expected = [line for lines in reports for line in lines]
    stored = await idle_runtime.logs.lines(job.id, after=0, limit=1000)
    assert [line.m for _, line in stored] == expected
    # The server died after it had counted the lines, and before it stored those for which the document has no room.
    await idle_runtime.database.collection("logs").delete_many({})
    for number, lines in enumerate(reports):
        await post(client, path, {"token": token, "logs": lines}, f"r{number}")
    stored = await idle_runtime.logs.lines(job.id, after=0, limit=1000)
    assert [line.m for _, line in stored] == expected
    # The last reports are known, and nothing else is kept of them.
    for number in range(repeat_statements.MOST_REPORTS):
        await post(client, path, {"token": token, "logs": ["x"]}, f"more{number}")
    document = await idle_runtime.jobs.collection.find_one({})
    assert document is not None
    assert len(document["claim"]["reports"]) == repeat_statements.MOST_REPORTS
    assert document["logCount"] == 450 + repeat_statements.MOST_REPORTS


async def test_the_same_report_many_times_at_once_is_stored_once(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    token = (await claim(client))["token"]
    body = {"token": token, "logs": ["a", "b"]}
    await asyncio.gather(*(post(client, f"/v1/jobs/{job.id}/heartbeat", body, "r") for _ in range(10)))
    assert [line.m for _, line in await idle_runtime.logs.lines(job.id, after=0, limit=100)] == ["a", "b"]


async def test_the_job_of_a_repeated_claim_is_found_by_its_key(idle_runtime: Runtime) -> None:
    for number in range(20):
        await add(idle_runtime)
        await idle_runtime.work.attempt("default", None, worker="w", key=f"k{number}")
    command = {
        "findAndModify": "jobs",
        "query": repeat_statements.handed_out("default", "k7"),
        "update": [*statements.renew("$$NOW"), repeat_statements.counted()],
        "hint": repeat_statements.INDEX,
    }
    await explain(idle_runtime.database, command, keys=1)
