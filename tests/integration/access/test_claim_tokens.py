"""The token of a claim in place of an API token: for the routes of its running job, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.route_table import ROUTES
from jobqueue.domain.work.verdict import Success
from jobqueue.services.application import Runtime
from tests.support.data.factories import add, claim, claimed_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN = "the-token-of-the-settings"


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    await runtime.configs.refresh()
    yield runtime
    await runtime.close()


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client


async def ask(client: Client, method: str, path: str, token: str, fields: Any = None) -> ClientResponse:
    return await client.request(method, path, headers={"Authorization": f"Claim {token}"}, json=fields)


async def body(response: ClientResponse, status: int = 200) -> dict[str, Any]:
    assert response.status == status, await response.text()
    read: dict[str, Any] = await response.json(content_type=None)
    return read


async def test_a_running_job_is_reported_on_with_the_token_of_its_claim_alone(client: Client, runtime: Runtime) -> None:
    claimed = await claimed_job(runtime, backoff=0)
    path, token = f"/v1/jobs/{claimed.job.id}", claimed.token
    assert not (await body(await ask(client, "POST", f"{path}/heartbeat", token)))["cancelled"]
    beat = {"progress": 40, "token": token}
    assert (await ask(client, "POST", f"{path}/heartbeat", token, beat)).status == 200
    kept = await body(await ask(client, "POST", f"{path}/steps", token, {"name": "fetch", "result": 5}))
    assert kept == {"result": 5, "existed": False}
    assert (await body(await ask(client, "GET", f"{path}/steps/fetch", token)))["result"] == 5
    told = await body(await ask(client, "POST", f"{path}/suspend", token, {"delay": 0}))
    assert told["state"] == "pending"
    for route in ("fail", "die", "retry", "succeed"):
        again = await claim(runtime)
        answer = await ask(
            client, "POST", f"{path}/{route}", again.token, {"reason": "no"} if route != "succeed" else {}
        )
        told = await body(answer)
        if told["state"] in {"killed", "delayed"}:
            await runtime.manager.requeue(claimed.job.id)
    assert told["state"] == "success"


async def test_a_token_that_is_no_claim_of_the_job_is_refused(client: Client, runtime: Runtime) -> None:
    claimed = await claimed_job(runtime)
    other = await claimed_job(runtime)
    path = f"/v1/jobs/{claimed.job.id}"
    for token in (other.token, "0" * 24, "x", ADMIN, "ü", "x" * 500, "a b"):
        for method, route, fields in (("POST", "heartbeat", {}), ("GET", "steps/a", None), ("POST", "succeed", {})):
            assert (await ask(client, method, f"{path}/{route}", token, fields)).status in {401, 429}
    assert (await runtime.jobs.get(claimed.job.id)).state == "processing"


async def test_a_claim_is_good_for_nothing_but_its_running_job(client: Client, runtime: Runtime) -> None:
    claimed = await claimed_job(runtime)
    taken = set()
    for route in ROUTES:
        if route.role is None or "events" in route.path:
            continue
        path = route.path.replace("{id}", claimed.job.id).replace("{queue}", "default").replace("{step}", "fetch")
        for name in ("parent", "name", "fingerprint"):
            path = path.replace(f"{{{name}}}", "0" * 24)
        answer = await ask(client, route.method, path, claimed.token, {"no such field": 1} if route.body else None)
        if answer.status != 401:
            # The address has shown a valid claim: only others are slowed down.
            taken.add(f"{route.method} {route.path}")
            assert answer.status in {404, 422}, route.path
    reports = ("heartbeat", "succeed", "fail", "die", "retry", "steps", "suspend", "calls")
    reads = {f"GET /v1/jobs/{{id}}/{name}" for name in ("steps/{step}", "steps/{step}/results", "parents/{parent}")}
    assert taken - reads == {f"POST /v1/jobs/{{id}}/{name}" for name in reports}


async def test_under_a_claim_that_has_ended_nothing_is_read_and_a_report_is_answered_once_more(
    client: Client, runtime: Runtime
) -> None:
    claimed = await claimed_job(runtime)
    path, token = f"/v1/jobs/{claimed.job.id}", claimed.token
    await ask(client, "POST", f"{path}/steps", token, {"name": "fetch", "result": 5})
    await runtime.work.settle(claimed.job, token, Success(result=1))
    assert (await body(await ask(client, "POST", f"{path}/succeed", token, {"result": 1})))["state"] == "success"
    for method, route, fields in (
        ("GET", "steps/fetch", None),
        ("POST", "steps", {"name": "mail"}),
        ("POST", "fail", {"reason": "late"}),
        ("POST", "suspend", {"delay": 5}),
    ):
        assert (await body(await ask(client, method, f"{path}/{route}", token, fields), 409))["type"].endswith(
            "stale-token"
        )


async def test_two_tokens_of_a_report_have_to_agree(client: Client, runtime: Runtime) -> None:
    claimed = await claimed_job(runtime)
    path = f"/v1/jobs/{claimed.job.id}/heartbeat"
    for wrong in ("other", None, 5):
        told = await body(await ask(client, "POST", path, claimed.token, {"token": wrong}), 422)
        assert set(told["errors"]) == {"token"}
    headers = {"Authorization": f"Bearer {ADMIN}"}
    told = await body(await client.post(path, json={}, headers=headers), 422)
    assert told["errors"] == {"token": ["is required"]}
    # Without a claim in the header there has to be a body.
    assert (await client.post(path, headers=headers)).status == 400


async def test_wrong_claims_are_slowed_down_and_known_ones_pass(client: Client, runtime: Runtime) -> None:
    claimed = await claimed_job(runtime)
    path = f"/v1/jobs/{claimed.job.id}/heartbeat"
    assert (await ask(client, "POST", path, claimed.token)).status == 200
    statuses = [(await ask(client, "POST", path, f"{number:024x}")).status for number in range(30)]
    assert statuses[0] == 401
    assert 429 in statuses
    assert (await ask(client, "POST", path, claimed.token)).status == 200


async def test_an_open_server_takes_the_token_of_a_claim_too(settings: Settings) -> None:
    runtime = await Runtime.open(settings)
    try:
        await runtime.configs.refresh()
        async with TestClient(TestServer(make_app(runtime))) as client:
            await add(runtime)
            claimed = await claim(runtime)
            path = f"/v1/jobs/{claimed.job.id}/steps"
            assert (await ask(client, "POST", path, claimed.token, {"name": "fetch"})).status == 200
            assert (await ask(client, "POST", path, "0" * 24, {"name": "fetch", "token": claimed.token})).status == 401
    finally:
        await runtime.close()
