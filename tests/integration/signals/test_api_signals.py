"""Signals over HTTP: a person answers, and a worker that polls goes on with the answer."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Suspension
from tests.support.data.factories import LONG_AGO, add, claimed_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

KIB = 1024


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def post(
    client: Client, path: str, content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> Any:
    body = io.BytesIO(json.dumps(content).encode())
    answer = await client.post(
        f"/v1/{path}", data=body, headers={"Content-Type": "application/json", **(headers or {})}
    )
    assert answer.status == status, (await answer.text())[:1000]
    return await answer.json(content_type=None)


async def get(client: Client, path: str, status: int = 200) -> Any:
    answer = await client.get(f"/v1/{path}")
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None)


async def claim(client: Client) -> tuple[dict[str, Any], str]:
    got = await post(client, "queues/default/claim", {"worker": "poller"})
    return got["job"], got["token"]


async def begun(client: Client, runtime: Runtime, **fields: Any) -> tuple[str, str]:
    added = await add(runtime, **fields)
    _, token = await claim(client)
    return f"jobs/{added.id}", token


async def test_a_worker_that_polls_goes_on_with_the_value_of_the_signal(client: Client, idle_runtime: Runtime) -> None:
    path, token = await begun(client, idle_runtime)
    told = await post(client, f"{path}/suspend", {"token": token, "signal": "approved"})
    assert (told["state"], told["delayTil"]) == ("delayed", None)
    # The same report after a reply that was lost.
    assert await post(client, f"{path}/suspend", {"token": token, "signal": "approved"}) == told
    job = await get(client, path)
    assert job["wait"] == {"names": ["approved"], "signals": ["approved"]}
    (why,) = [reason for reason in (await get(client, f"{path}/why"))["reasons"] if reason["kind"] == "signal"]
    assert why["message"] == "waits for the signal approved"

    sent = await post(client, f"{path}/signals/approved", {"value": {"by": "ann"}, "id": "click-1"})
    assert sent == {"jobId": job["id"], "id": "click-1", "name": "approved", "existed": False}
    assert (await post(client, f"{path}/signals/approved", {"value": 5, "id": "click-1"}))["existed"]
    job = await get(client, path)
    assert (job["state"], job["attemptsMade"]) == ("pending", 0)
    assert "wait" not in job
    (signal,) = job["signals"]
    assert (signal["id"], signal["by"], signal["taken"]) == ("click-1", "nobody", "approved")
    assert "value" not in signal
    claimed, second = await claim(client)
    assert claimed["steps"] == {"approved": {"by": "ann"}}
    (step,) = (await get(client, path))["steps"]
    assert (step["name"], step["kind"], step["result"]) == ("approved", "signal", {"by": "ann"})
    again = await post(client, f"{path}/suspend", {"token": second, "signal": "approved"}, 422)
    assert "has finished" in again["errors"]["name"][0]
    await post(client, f"{path}/succeed", {"token": second})
    ended = await post(client, f"{path}/signals/approved", {"value": 1}, 409)
    assert ended["type"] == "/problems/wrong-state"
    # A repeated request learns that it has been here.
    assert (await post(client, f"{path}/signals/approved", {"id": "click-1"}))["existed"]
    audit = (await get(client, "audit?action=signal"))["items"]
    assert [entry["after"]["value"] for entry in audit] == [{"by": "ann"}]


async def test_a_signal_that_comes_before_the_wait_counts(client: Client, idle_runtime: Runtime) -> None:
    path, token = await begun(client, idle_runtime)
    for value in ("first", "second"):
        await post(client, f"{path}/signals/approved", {"value": value})
    await post(client, f"{path}/signals/other", {"value": 5})
    told = await post(client, f"{path}/suspend", {"token": token, "name": "a", "signal": "approved", "timeout": 60})
    assert told["state"] == "pending"
    job, second = await claim(client)
    assert job["steps"] == {"a": "first"}
    assert (await post(client, f"{path}/suspend", {"token": second, "name": "b", "signal": "approved"}))[
        "state"
    ] == "pending"
    job, _ = await claim(client)
    assert job["steps"] == {"a": "first", "b": "second"}
    waiting = [(signal["name"], signal["value"]) for signal in job["signals"] if "taken" not in signal]
    assert waiting == [("other", 5)]


async def test_a_signal_between_the_two_writes_of_a_suspension_wakes_the_job(
    client: Client, idle_runtime: Runtime
) -> None:
    claimed = await claimed_job(idle_runtime)
    steps, wait = idle_runtime.work.steps, Wait(names=("a",), signals=("a",))
    step = await steps.begin_signal(claimed.job, claimed.token, "a", "a")
    assert not step.is_finished
    await post(client, f"jobs/{claimed.job.id}/signals/a", {"value": 7})
    await idle_runtime.work.settle(claimed.job, claimed.token, Suspension(wait=wait))
    job, _ = await claim(client)
    assert job["steps"] == {"a": 7}
    assert "wait" not in job


async def test_a_wait_whose_time_is_over_has_an_error_in_place_of_its_result(
    client: Client, idle_runtime: Runtime
) -> None:
    path, token = await begun(client, idle_runtime)
    told = await post(client, f"{path}/suspend", {"token": token, "signal": "approved", "timeout": 3600})
    ended = (await get(client, path))["steps"][0]["until"]
    assert (told["state"], told["delayTil"]) == ("delayed", ended)
    assert datetime.fromisoformat(ended).timestamp() > LONG_AGO.timestamp()
    late = {"$set": {"delayTil": LONG_AGO, "steps.0.until": LONG_AGO}}
    await idle_runtime.jobs.collection.update_one({}, late)
    await idle_runtime.jobs.promote_due()
    job, second = await claim(client)
    error = {"kind": "timeout", "message": "the signal has not come in time"}
    assert job["steps"] == {"approved": {"error": error}}
    step = await get(client, f"{path}/steps/approved")
    assert (step["error"], step["result"]) == (error, None)
    # The signal that comes too late is kept for the next wait.
    await post(client, f"{path}/signals/approved", {"value": 1})
    assert (await post(client, f"{path}/suspend", {"token": second, "name": "again", "signal": "approved"}))[
        "state"
    ] == "pending"
    assert (await claim(client))[0]["steps"]["again"] == 1


async def test_large_values_are_kept_outside_of_the_document(client: Client, idle_runtime: Runtime) -> None:
    path, token = await begun(client, idle_runtime)
    await post(client, f"{path}/signals/a", {"value": "x" * (255 * KIB)})
    signal = (await get(client, path))["signals"][0]
    assert signal["stored"]
    assert "value" not in signal
    await post(client, f"{path}/suspend", {"token": token, "signal": "a"})
    job, second = await claim(client)
    assert job["steps"] == {"a": "x" * (255 * KIB)}
    told = await post(client, f"{path}/signals/a", {"value": "x" * (256 * KIB)}, 413)
    assert "signal" in told["detail"]
    await post(client, f"{path}/succeed", {"token": second})
    await post(client, f"{path}/signals/a", {"value": "x" * (2 * KIB)}, 409)
    assert await idle_runtime.database.collection("steps").count_documents({}) == 1


async def test_a_hundred_signals_wait_at_most(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    for number in range(100):
        await idle_runtime.signals.send(job.id, "tick", number)
    told = await post(client, f"jobs/{job.id}/signals/tick", {}, 409)
    assert "100" in told["detail"]


async def test_an_idempotency_key_sends_a_signal_once(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    key = {"Idempotency-Key": "abc"}
    path = f"jobs/{job.id}/signals/approved"
    assert not (await post(client, path, {"value": 1}, headers=key))["existed"]
    assert (await post(client, path, {"value": 1}, headers=key))["existed"]
    assert set((await post(client, path, {"id": "x"}, 422, headers=key))["errors"]) == {"id"}
    assert len((await get(client, f"jobs/{job.id}"))["signals"]) == 1


async def test_a_signal_finds_the_unfinished_job_of_a_key(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, key="order/7")
    sent = await post(client, "queues/default/keys/order%2F7/signals/approved", {"value": 1})
    assert sent["jobId"] == job.id
    await post(client, "queues/default/keys/order8/signals/approved", {"value": 1}, 404)
    await post(client, "queues/other/keys/order%2F7/signals/approved", {"value": 1}, 404)


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("signals/undo:x", {}, "name"),
        (f"signals/{'x' * 101}", {}, "name"),
        ("signals/a", {"id": ""}, "id"),
        ("signals/a", {"id": "ü"}, "id"),
        ("signals/a", {"id": "x" * 256}, "id"),
        ("signals/a", {"valu": 5}, "valu"),
        ("signals/a", {"value": {"$a": 1}}, "value.$a"),
        ("signals/a", {"value": 2**64}, "value"),
    ],
)
async def test_a_signal_that_cannot_be_kept_is_refused_by_name(
    client: Client, idle_runtime: Runtime, path: str, content: dict[str, Any], field: str
) -> None:
    job = await add(idle_runtime)
    assert set((await post(client, f"jobs/{job.id}/{path}", content, 422))["errors"]) == {field}
    assert "signals" not in await get(client, f"jobs/{job.id}")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"signal": "a", "delay": 5}, "delay"),
        ({"signal": "a", "until": "2030-01-31T12:00:00Z"}, "until"),
        ({"signal": "undo:a"}, "signal"),
        ({"signal": "a", "timeout": -1}, "timeout"),
        ({"signal": "a", "timeout": 10**12}, "timeout"),
        ({"delay": 5, "timeout": 5}, "timeout"),
        ({"timeout": 5}, "timeout"),
    ],
)
async def test_a_wrong_wait_is_refused_by_name(
    client: Client, idle_runtime: Runtime, content: dict[str, Any], field: str
) -> None:
    path, token = await begun(client, idle_runtime)
    assert field in (await post(client, f"{path}/suspend", {"token": token, **content}, 422))["errors"]
    assert (await get(client, path))["state"] == "processing"


async def test_the_inbox_has_the_jobs_that_wait_for_signals(client: Client, idle_runtime: Runtime) -> None:
    path, token = await begun(client, idle_runtime)
    await post(client, f"{path}/suspend", {"token": token, "signal": "approved", "timeout": 60})
    other, token = await begun(client, idle_runtime)
    await post(client, f"{other}/suspend", {"token": token, "delay": 60})
    await add(idle_runtime)
    page = await get(client, "jobs?waiting=signal")
    assert [f"jobs/{job['id']}" for job in page["items"]] == [path]
    assert (await get(client, "jobs?waiting=doubt"))["items"] == []
    assert (await get(client, "jobs?waiting=jobs"))["items"] == []
    await get(client, "jobs?waiting=godot", 422)
    found = await post(client, "jobs/search", {"filter": {"wait.signals": "approved"}})
    assert [f"jobs/{job['id']}" for job in found["items"]] == [path]
    await post(client, f"{path}/signals/approved", {})
    assert (await get(client, "jobs?waiting=signal"))["items"] == []


async def test_a_requeue_asks_again_where_a_step_is_forgotten(client: Client, idle_runtime: Runtime) -> None:
    path, token = await begun(client, idle_runtime)
    await post(client, f"{path}/signals/a", {"value": 1})
    await post(client, f"{path}/signals/b", {"value": 2})
    await post(client, f"{path}/suspend", {"token": token, "signal": "a"})
    _, token = await claim(client)
    await post(client, f"{path}/die", {"token": token, "reason": "no"})
    # Steps and signals stay: the job goes on after its answer.
    await post(client, f"{path}/requeue", {})
    job, token = await claim(client)
    assert job["steps"] == {"a": 1}
    assert [(signal["name"], signal.get("taken")) for signal in job["signals"]] == [("a", "a"), ("b", None)]
    await post(client, f"{path}/die", {"token": token, "reason": "no"})
    await post(client, f"{path}/requeue", {"fromStep": "a"})
    job, token = await claim(client)
    assert job["steps"] == {}
    assert [signal["name"] for signal in job["signals"]] == ["b"]
    await post(client, f"{path}/suspend", {"token": token, "signal": "b"})
    _, token = await claim(client)
    await post(client, f"{path}/succeed", {"token": token})
    await post(client, f"{path}/requeue", {})
    job, _ = await claim(client)
    assert (job["steps"], job.get("signals", [])) == ({}, [])


async def test_tokens_that_decide_may_send_signals_and_nothing_else(client: Client, idle_runtime: Runtime) -> None:
    tokens = {}
    for role, meta in (("decide", (("team", "a"),)), ("enqueue", ()), ("read", ()), ("work", ())):
        _, tokens[role] = await idle_runtime.access.create(
            roles=[role], queues=["default"], meta=meta, by=Actor(name="admin", via="python")
        )
    mine = await add(idle_runtime, meta={"team": "a"}, key="mine")
    foreign = await add(idle_runtime, meta={"team": "b"}, key="foreign")

    async def status(role: str, method: str, path: str) -> int:
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        return (await client.request(method, f"/v1/{path}", headers=headers)).status

    assert await status("decide", "POST", f"jobs/{mine.id}/signals/a") == 200
    assert await status("decide", "POST", "queues/default/keys/mine/signals/a") == 200
    assert await status("decide", "POST", f"jobs/{foreign.id}/signals/a") == 404
    assert await status("decide", "POST", "queues/default/keys/foreign/signals/a") == 404
    assert await status("decide", "POST", "queues/other/keys/mine/signals/a") == 404
    for method, path in (("GET", f"jobs/{mine.id}"), ("POST", f"jobs/{mine.id}/kill"), ("POST", "jobs")):
        assert await status("decide", method, path) == 403
    assert await status("enqueue", "POST", f"jobs/{foreign.id}/signals/a") == 200
    for role in ("read", "work"):
        assert await status(role, "POST", f"jobs/{mine.id}/signals/a") == 403


@pytest.mark.parametrize("name", ["page {n}", "{}", "a/b", "100 %", "größe?"])
async def test_any_name_can_be_put_into_a_path(client: Client, idle_runtime: Runtime, name: str) -> None:
    path, token = await begun(client, idle_runtime, key=name)
    quoted = quote(name, safe="")
    await post(client, f"{path}/steps", {"token": token, "name": name, "result": 7})
    assert (await get(client, f"{path}/steps/{quoted}"))["result"] == 7
    for place, sent in enumerate((f"{path}/signals/{quoted}", f"queues/default/keys/{quoted}/signals/{quoted}")):
        await post(client, sent, {"value": place})
    assert [signal["name"] for signal in (await get(client, path))["signals"]] == [name] * 2
