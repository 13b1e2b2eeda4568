"""The round trips to MongoDB of a program that polls: a job that was handed out here is not read again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from tests.integration.work.test_api_work import CLAIM, STALE, body, claimed
from tests.support.data.factories import open_runtime
from tests.support.mongo.driver_commands import SentCommands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.integration.work.test_api_work import Client

WRITE = "findAndModify"
ADMIN = "the-token-of-the-settings"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> SentCommands:
    return SentCommands(monkeypatch)


@pytest.fixture
async def client(commands: SentCommands, idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        commands.sent.clear()
        yield client


async def test_a_claim_and_its_success_take_two_round_trips(
    client: Client, idle_runtime: Runtime, commands: SentCommands
) -> None:
    for _ in range(2):
        await idle_runtime.producer.add(NewJob(type="a"))
        commands.about_jobs()
        got = await body(await client.post(CLAIM, json={"worker": "w"}), 200)
        path = f"/v1/jobs/{got['job']['id']}"
        done = await body(await client.post(f"{path}/succeed", json={"token": got["token"], "result": 1}), 200)
        assert commands.about_jobs() == [WRITE, "update"]
    assert done == {"id": got["job"]["id"], "state": "success", "delayTil": None}


@pytest.mark.parametrize(
    ("verb", "fields", "sent"),
    [
        ("succeed", {}, ["update"]),
        ("fail", {"reason": "no"}, ["update"]),
        ("die", {"reason": "no"}, ["update"]),
        ("retry", {"delay": 5}, ["find", WRITE]),
        ("heartbeat", {"progress": 5, "logs": ["half way"]}, [WRITE]),
        ("steps", {"name": "fetch", "result": 1}, ["update"]),
        ("suspend", {"delay": 60}, ["find", WRITE]),
        ("suspend", {"delay": 60, "name": "rest"}, ["find", WRITE, WRITE]),
        ("suspend", {"signal": "go"}, ["find", WRITE, WRITE]),
    ],
)
async def test_a_report_reads_the_job_once_at_most(
    client: Client, idle_runtime: Runtime, commands: SentCommands, verb: str, fields: dict[str, Any], sent: list[str]
) -> None:
    path, token = await claimed(client, idle_runtime, attempts=1)
    await idle_runtime.work.steps.admission.check("default")
    commands.about_jobs()
    done = await body(await client.post(f"{path}/{verb}", json={"token": token, **fields}), 200)
    assert commands.about_jobs() == sent
    if "delayTil" in done:
        job = await body(await client.get(path), 200)
        assert (done["state"], done["delayTil"]) == (job["state"], job["delayTil"])


async def test_a_failure_that_waits_tells_its_date_without_a_read(
    client: Client, idle_runtime: Runtime, commands: SentCommands
) -> None:
    path, token = await claimed(client, idle_runtime, backoff=60)
    commands.about_jobs()
    told = await body(await client.post(f"{path}/fail", json={"token": token, "reason": "no"}), 200)
    assert commands.about_jobs() == [WRITE]
    job = await body(await client.get(path), 200)
    assert (told["state"], told["delayTil"]) == ("delayed", job["delayTil"])
    assert told["delayTil"] is not None


async def test_reports_that_are_written_together_tell_their_own_dates(client: Client, idle_runtime: Runtime) -> None:
    jobs = [await claimed(client, idle_runtime, backoff=60 + number) for number in range(5)]
    reports = [client.post(f"{path}/fail", json={"token": token, "reason": "no"}) for path, token in jobs]
    for (path, _), answer in zip(jobs, await asyncio.gather(*reports), strict=True):
        told, job = await body(answer, 200), await body(await client.get(path), 200)
        assert (told["state"], told["delayTil"]) == ("delayed", job["delayTil"])


@pytest.mark.parametrize("ends_with", ["succeed", "fail", "die", "retry"])
async def test_a_repeated_report_is_answered_again_and_another_one_is_stale(
    client: Client, idle_runtime: Runtime, ends_with: str
) -> None:
    path, token = await claimed(client, idle_runtime, attempts=1)
    report = {"token": token, "reason": "no"} if ends_with != "succeed" else {"token": token}
    told = [await body(await client.post(f"{path}/{ends_with}", json=report), 200) for _ in range(3)]
    assert told[0] == told[1] == told[2]
    for verb, fields in (("fail", {"reason": "x"}), ("die", {"reason": "x"}), ("succeed", {}), ("heartbeat", {})):
        if verb != ends_with:
            stale = await body(await client.post(f"{path}/{verb}", json={"token": token, **fields}), 409)
            assert stale["type"] == STALE


async def test_a_claim_that_was_lost_meanwhile_is_stale_although_its_job_is_remembered(
    client: Client, idle_runtime: Runtime
) -> None:
    path, token = await claimed(client, idle_runtime)
    await idle_runtime.manager.kill(path.rpartition("/")[2])
    assert (await body(await client.post(f"{path}/heartbeat", json={"token": token}), 200))["cancelled"]
    assert (await body(await client.post(f"{path}/succeed", json={"token": token}), 409))["type"] == STALE
    assert (await body(await client.post(f"{path}/succeed", json={"token": "0" * 24}), 409))["type"] == STALE
    assert (await body(await client.get(path), 200))["state"] == "killed"


async def test_a_remembered_job_with_children_and_dependents_ends_with_all_that_follows(
    client: Client, idle_runtime: Runtime
) -> None:
    child = NewJob(type="child")
    path, token = await claimed(client, idle_runtime, on_success=child, on_success_delete=True)
    parent = path.rpartition("/")[2]
    late = await idle_runtime.producer.add(NewJob(type="late", depends_on=[parent], queue="other"))
    done = await body(await client.post(f"{path}/succeed", json={"token": token, "result": 7}), 200)
    assert done["state"] == "success"
    waiting = await idle_runtime.jobs.get(late.id)
    assert waiting.state == "pending"
    got = await body(await client.post(CLAIM, json={"worker": "w"}), 200)
    assert (got["job"]["type"], got["job"]["parentId"]) == ("child", parent)


async def test_a_job_that_is_deleted_at_its_success_is_reported_on_once(client: Client, idle_runtime: Runtime) -> None:
    path, token = await claimed(client, idle_runtime, on_success_delete=True)
    done = await body(await client.post(f"{path}/succeed", json={"token": token}), 200)
    assert (done["state"], done["delayTil"]) == ("success", None)
    await body(await client.post(f"{path}/succeed", json={"token": token}), 404)


async def test_a_job_that_another_process_has_handed_out_is_read_once(
    client: Client, idle_runtime: Runtime, settings: Settings, commands: SentCommands
) -> None:
    path, token = await claimed(client, idle_runtime, backoff=60)
    async with open_runtime(settings) as other, TestClient(TestServer(make_app(other))) as second:
        commands.about_jobs()
        told = await body(await second.post(f"{path}/fail", json={"token": token, "reason": "no"}), 200)
        assert commands.about_jobs() == ["find", WRITE]
    assert told["state"] == "delayed"


async def test_a_token_of_one_queue_costs_no_read_and_opens_no_other_queue(
    settings: Settings, commands: SentCommands
) -> None:
    by = Actor(name="test", via="python")
    async with open_runtime(replace(settings, admin_token=ADMIN)) as runtime:
        ours, theirs = [
            (await runtime.access.create(roles=["work"], queues=[queue], by=by))[1] for queue in ("default", "other")
        ]
        async with TestClient(TestServer(make_app(runtime))) as client:
            bearer = [{"Authorization": f"Bearer {token}"} for token in (ours, theirs)]
            await runtime.producer.add(NewJob(type="a"))
            got = await body(await client.post(CLAIM, json={"worker": "w"}, headers=bearer[0]), 200)
            path, report = f"/v1/jobs/{got['job']['id']}/succeed", {"token": got["token"]}
            await body(await client.post(path, json=report, headers=bearer[1]), 404)
            commands.about_jobs()
            await body(await client.post(path, json=report, headers=bearer[0]), 200)
            assert commands.about_jobs() == ["update"]
