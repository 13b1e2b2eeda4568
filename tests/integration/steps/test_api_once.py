"""Steps that never run twice, over HTTP: a mark before, a doubt, and the decision of a person."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def post(client: Client, path: str, content: Any, status: int = 200, *, key: str | None = None) -> Any:
    body = io.BytesIO(json.dumps(content).encode())
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    answer = await client.post(f"/v1/{path}", data=body, headers=headers)
    assert answer.status == status, (await answer.text())[:1000]
    return await answer.json(content_type=None)


async def get(client: Client, path: str) -> Any:
    answer = await client.get(f"/v1/{path}")
    assert answer.status == 200, await answer.text()
    return await answer.json(content_type=None)


async def claim(client: Client) -> tuple[dict[str, Any], str]:
    got = await post(client, "queues/default/claim", {"worker": "poller"})
    return got["job"], got["token"]


async def in_doubt(client: Client, runtime: Runtime) -> tuple[str, str, str]:
    """Make a job whose step was marked and left; return its path, and the tokens of its first and second claim."""
    job = await add(runtime, attempts=3, backoff=0)
    _, first = await claim(client)
    path = f"jobs/{job.id}"
    told = await post(client, f"{path}/steps", {"token": first, "name": "charge", "once": True})
    assert told == {"result": None, "existed": False}
    # The same request after a reply that was lost.
    assert await post(client, f"{path}/steps", {"token": first, "name": "charge", "once": True}) == told
    await post(client, f"{path}/fail", {"token": first, "reason": "the line broke"})
    _, second = await claim(client)
    told = await post(client, f"{path}/steps", {"token": second, "name": "charge", "once": True})
    assert told == {"result": None, "existed": False, "doubt": True}
    return path, first, second


async def parked(client: Client, runtime: Runtime) -> tuple[str, str]:
    path, first, second = await in_doubt(client, runtime)
    told = await post(client, f"{path}/suspend", {"token": second, "doubt": "charge"})
    assert (told["state"], told["delayTil"]) == ("delayed", None)
    return path, first


async def test_another_process_of_the_same_start_is_in_doubt(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    _, token = await claim(client)
    path, begin = f"jobs/{job.id}", {"token": token, "name": "charge", "once": True}
    may_run = {"result": None, "existed": False}
    # The second is the same request after a reply that was lost.
    for _ in range(2):
        assert await post(client, f"{path}/steps", begin, key="a") == may_run
    assert await post(client, f"{path}/steps", begin, key="b") == may_run | {"doubt": True}
    assert await post(client, f"{path}/steps", begin) == may_run
    await post(client, f"{path}/steps", {"token": token, "name": "charge", "notDone": True})
    assert await post(client, f"{path}/steps", begin, key="b") == may_run
    refused = await post(client, f"{path}/steps", begin, 422, key="\u00e9")
    assert "Idempotency-Key" in refused["errors"]
    await post(client, f"{path}/suspend", {"token": token, "doubt": "charge"})
    assert (await get(client, path))["wait"]["doubt"] == "charge"


async def test_a_person_says_that_it_has_happened(client: Client, idle_runtime: Runtime) -> None:
    path, _ = await parked(client, idle_runtime)
    job = await get(client, path)
    assert job["wait"] == {"names": ["charge"], "doubt": "charge"}
    assert "once" not in job["steps"][0]
    assert (await get(client, f"{path}/why"))["reasons"][0]["kind"] == "doubt"
    assert [item["id"] for item in (await get(client, "jobs?waiting=doubt"))["items"]] == [job["id"]]
    told = await post(client, f"{path}/steps/charge", {"happened": True, "result": {"payment": "p-7"}})
    assert told["state"] == "pending"
    job, token = await claim(client)
    assert job["steps"] == {"charge": {"payment": "p-7"}}
    told = await post(client, f"{path}/steps", {"token": token, "name": "charge", "once": True})
    assert told == {"result": {"payment": "p-7"}, "existed": True}
    again = await post(client, f"{path}/steps/charge", {"happened": True}, 409)
    assert "not in doubt" in again["detail"]
    audit = (await get(client, "audit?action=decide"))["items"]
    assert audit[0]["after"] == {"step": "charge", "happened": True, "result": {"payment": "p-7"}}


async def test_a_person_says_that_it_has_not_happened(client: Client, idle_runtime: Runtime) -> None:
    path, _ = await parked(client, idle_runtime)
    assert (await post(client, f"{path}/steps/charge", {"happened": False}))["state"] == "pending"
    job, token = await claim(client)
    assert job["steps"] == {}
    told = await post(client, f"{path}/steps", {"token": token, "name": "charge", "once": True})
    assert told == {"result": None, "existed": False}
    # Nobody decides about a step that runs at this moment.
    running = await post(client, f"{path}/steps/charge", {"happened": False}, 409)
    assert "runs at this moment" in running["detail"]
    assert [step["name"] for step in (await get(client, path))["steps"]] == ["charge"]
    await post(client, f"{path}/steps", {"token": token, "name": "charge", "result": "x" * 100_000})
    await post(client, f"{path}/succeed", {"token": token})
    assert (await get(client, f"{path}/steps/charge"))["result"] == "x" * 100_000


async def test_a_decision_before_the_job_is_parked_counts(client: Client, idle_runtime: Runtime) -> None:
    path, _, second = await in_doubt(client, idle_runtime)
    await post(client, f"{path}/steps/charge", {"happened": True, "result": "y" * 5000})
    told = await post(client, f"{path}/suspend", {"token": second, "doubt": "charge"})
    assert told["state"] == "pending"
    assert (await claim(client))[0]["steps"] == {"charge": "y" * 5000}


async def test_the_result_of_the_claim_that_has_marked_the_step_counts_late(
    client: Client, idle_runtime: Runtime
) -> None:
    path, first = await parked(client, idle_runtime)
    told = await post(client, f"{path}/steps", {"token": first, "name": "charge", "result": "paid"})
    assert told == {"result": "paid", "existed": False}
    assert (await get(client, path))["state"] == "pending"
    # Nothing else of the lost claim counts.
    await post(client, f"{path}/steps", {"token": first, "name": "mail", "result": 1}, 409)
    await post(client, f"{path}/steps", {"token": first, "name": "charge", "result": "twice"}, 409)
    assert (await claim(client))[0]["steps"] == {"charge": "paid"}


async def test_a_worker_says_that_nothing_has_happened(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, attempts=2, backoff=0)
    path = f"jobs/{job.id}"
    for _ in range(2):
        _, token = await claim(client)
        told = await post(client, f"{path}/steps", {"token": token, "name": "charge", "once": True})
        assert "doubt" not in told
        await post(client, f"{path}/steps", {"token": token, "name": "charge", "notDone": True})
        await post(client, f"{path}/fail", {"token": token, "reason": "closed"})
    assert "steps" not in await get(client, path) or (await get(client, path))["steps"] == []


@pytest.mark.parametrize(
    ("path", "content", "status", "field"),
    [
        ("steps/charge", {}, 422, "happened"),
        ("steps/charge", {"happened": "yes"}, 422, "happened"),
        ("steps/charge", {"happened": False, "result": 5}, 422, "result"),
        ("steps/charge", {"happened": True, "result": {"$a": 5}}, 422, "result.$a"),
        ("steps/undo:x", {"happened": True}, 422, "name"),
        ("steps/other", {"happened": True}, 404, None),
        ("steps/charge", {"happened": True, "result": "x" * (4 * 1024 * 1024)}, 413, None),
    ],
)
async def test_a_wrong_decision_is_refused(
    client: Client, idle_runtime: Runtime, path: str, content: Any, status: int, field: str | None
) -> None:
    job, _ = await parked(client, idle_runtime)
    told = await post(client, f"{job}/{path}", content, status)
    if field is not None:
        assert set(told["errors"]) == {field}
    assert (await get(client, job))["state"] == "delayed"
    assert await idle_runtime.database.collection("steps").count_documents({}) == 0


@pytest.mark.parametrize(
    ("route", "content", "field"),
    [
        ("steps", {"name": "a", "once": True, "result": 5}, "result"),
        ("steps", {"name": "a", "once": True, "notDone": True}, "notDone"),
        ("suspend", {"doubt": "undo:a"}, "doubt"),
        ("suspend", {"doubt": "a", "delay": 5}, "delay"),
        ("suspend", {"doubt": "a", "signal": "b"}, "signal"),
    ],
)
async def test_a_wrong_report_is_refused_by_name(
    client: Client, idle_runtime: Runtime, route: str, content: Any, field: str
) -> None:
    job = await add(idle_runtime)
    _, token = await claim(client)
    told = await post(client, f"jobs/{job.id}/{route}", {"token": token, **content}, 422)
    assert field in told["errors"]


async def test_tokens_that_decide_may_end_doubts(client: Client, idle_runtime: Runtime) -> None:
    path, _ = await parked(client, idle_runtime)
    statuses = {}
    for role in ("read", "enqueue", "work", "decide"):
        _, token = await idle_runtime.access.create(roles=[role], by=Actor(name="admin", via="python"))
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.post(f"/v1/{path}/steps/charge", json={"happened": True}, headers=headers)
        statuses[role] = answer.status
    assert statuses == {"read": 403, "enqueue": 403, "work": 403, "decide": 200}
