"""Reports over HTTP that are odd: each is refused and loses nothing, or decides as any other."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from tests.integration.work.test_api_work import CLAIM, body, claimed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.integration.work.test_api_work import Client


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


@pytest.mark.parametrize(
    ("verb", "fields", "status"),
    [
        ("succeed", '"result": "\\ud800"', 400),
        ("succeed", '"result": NaN', 400),
        ("succeed", '"result": 1e999', 400),
        ("succeed", '"result": {"a\\u0000": 1}', 422),
        ("succeed", '"result": ' + "[" * 70 + "]" * 70, 422),
        ("succeed", '"result": ' + "[" * 5000 + "]" * 5000, 400),
        ("succeed", '"result": "' + "x" * (4 * 2**20) + '"', 413),
        ("die", '"reason": {"why": "no"}', 422),
        ("die", '"reason": 5', 422),
        ("die", '"reason": "\\ud800"', 400),
        ("fail", '"reason": "x", "trace": {}', 422),
        ("retry", '"delay": 1e999', 400),
        ("retry", '"delay": 99999999999999999999', 422),
        ("retry", '"delay": "5"', 422),
        ("retry", '"delay": true', 422),
        ("retry", '"delay": null, "reason": []', 422),
        ("retry", '"delay": ' + "9" * 5000, 422),
    ],
    ids=lambda one: str(one)[:40],
)
async def test_a_report_that_cannot_be_kept_is_refused_and_loses_nothing(
    client: Client, runtime: Runtime, verb: str, fields: str, status: int
) -> None:
    path, token = await claimed(client, runtime)
    sent = io.BytesIO(f'{{"token": "{token}", {fields}}}'.encode())
    told = await client.post(f"{path}/{verb}", data=sent, headers={"Content-Type": "application/json"})
    problem = await body(told, status)
    if status == 422:
        assert all(name.split(".")[0] in fields for name in problem["errors"])
    if status == 413:
        assert "result" in problem["detail"]
    assert (await body(await client.post(f"{path}/heartbeat", json={"token": token}), 200))["cancelled"] is False
    assert (await body(await client.post(f"{path}/die", json={"token": token, "reason": "x"}), 200))[
        "state"
    ] == "killed"


@pytest.mark.parametrize("reason", ["a\0b", "x" * 1_000_000, "", "$where", "\U0001f40d"])
@pytest.mark.parametrize("verb", ["fail", "die", "retry"])
async def test_a_report_counts_whatever_its_reason_says(
    client: Client, runtime: Runtime, verb: str, reason: str
) -> None:
    path, token = await claimed(client, runtime, attempts=1)
    done = await body(await client.post(f"{path}/{verb}", json={"token": token, "reason": reason}), 200)
    assert done["state"] == {"fail": "failed", "die": "killed", "retry": "delayed"}[verb]
    error = (await body(await client.get(path), 200))["error"]
    assert (error["kind"], error["message"][:5]) == (verb, reason[:5])


async def test_a_retry_comes_back_after_a_second_and_not_for_ever(client: Client, runtime: Runtime) -> None:
    await body(await client.patch("/v1/queues/default", json={"maxRetries": 1}), 200)
    path, token = await claimed(client, runtime, attempts=5)
    first = await body(await client.post(f"{path}/retry", json={"token": token}), 200)
    job = await body(await client.get(path), 200)
    waited = datetime.fromisoformat(first["delayTil"]) - datetime.fromisoformat(job["history"][0]["endAt"])
    assert (first["state"], waited) == ("delayed", timedelta(seconds=1))
    assert "retries" not in job
    again = (await body(await client.post(CLAIM, json={"worker": "w", "wait": 60}), 200))["token"]
    report = {"token": again, "reason": "still busy"}
    for _ in range(2):
        last = await body(await client.post(f"{path}/retry", json=report), 200)
        assert (last["state"], last["delayTil"]) == ("failed", None)
    error = (await body(await client.get(path), 200))["error"]
    assert (error["kind"], error["message"][-10:]) == ("endless", "still busy")
