"""A requeue lets a job go on where it failed, or from an earlier step again: of one job, of many, of a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import claim, claimed_job, fail, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue import JobQueue
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="python")
NAMES = ("fetch", "charge", "mail")


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client


async def post(client: Client, path: str, content: Any, status: int = 200) -> Any:
    answer = await client.post(f"/v1/{path}", json=content)
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None)


async def ended(runtime: Runtime, *names: str, error: JobError | None = None, **fields: Any) -> str:
    """Add a job that finishes steps, one after the other, and then ends; return its id."""
    claimed = await claimed_job(runtime, attempts=1, **fields)
    for name in names:
        await runtime.work.steps.record(claimed.job, claimed.token, name, f"result of {name}")
    if error is None:
        await succeed(runtime, claimed)
    else:
        await fail(runtime, claimed, error)
    return claimed.job.id


async def failed(runtime: Runtime, *names: str, step: str | None = None, **fields: Any) -> str:
    return await ended(runtime, *names, error=JobError(kind="Boom", message="it broke", step=step), **fields)


async def results(runtime: Runtime, job_id: str) -> dict[str, Any]:
    """Claim a requeued job; return the results with which it goes on."""
    claimed = await claim(runtime)
    assert claimed.job.id == job_id
    return dict(claimed.results)


@pytest.mark.parametrize(
    ("content", "kept", "forgot"),
    [
        ({}, {"fetch", "charge", "mail"}, None),
        ({"fromStep": "charge"}, {"fetch"}, ["charge", "mail"]),
        ({"fromStep": "fetch"}, set(), ["fetch", "charge", "mail"]),
        ({"fromStep": None}, set(), ["fetch", "charge", "mail"]),
        ({"data": {"n": 1}}, set(), ["fetch", "charge", "mail"]),
        ({"data": {"n": 1}, "fromStep": "mail"}, {"fetch", "charge"}, ["mail"]),
    ],
)
async def test_a_requeue_names_the_first_step_that_runs_again(
    client: Client, runtime: Runtime, content: dict[str, Any], kept: set[str], forgot: list[str] | None
) -> None:
    job_id = await failed(runtime, *NAMES)
    job = await post(client, f"jobs/{job_id}/requeue", content)
    assert job["state"] == "pending"
    assert {step["name"] for step in job.get("steps", [])} == kept
    assert job["history"][-1].get("forgot") == forgot
    assert set(await results(runtime, job_id)) == kept
    entry = await runtime.database.collection("audit").find_one({"action": "requeue"})
    assert entry is not None
    assert ("fromStep" in entry["after"], entry["after"].get("fromStep")) == (
        "fromStep" in content,
        content.get("fromStep"),
    )


async def test_a_step_that_has_failed_need_not_have_left_anything(client: Client, runtime: Runtime) -> None:
    job_id = await failed(runtime, "fetch", step="charge")
    await post(client, f"jobs/{job_id}/requeue", {"fromStep": "charge"})
    assert await results(runtime, job_id) == {"fetch": "result of fetch"}


async def test_a_step_that_the_job_does_not_have_is_refused(client: Client, runtime: Runtime) -> None:
    job_id = await failed(runtime, "fetch")
    for wrong in ("charge", "", "x" * 101, 5):
        told = await post(client, f"jobs/{job_id}/requeue", {"fromStep": wrong}, 422)
        assert set(told["errors"]) == {"fromStep"}
    assert (await runtime.jobs.get(job_id)).state is State.FAILED
    await post(client, f"jobs/{job_id}/kill", {"fromStep": "fetch"}, 422)
    await post(client, "jobs/kill", {"all": True, "fromStep": "fetch"}, 422)


async def test_python_names_the_first_step_too(queue: JobQueue) -> None:
    runtime = await queue.open()
    job_id = await ended(runtime, *NAMES)
    with pytest.raises(InvalidInputError, match="no step 'other'"):
        await queue.requeue(job_id, from_step="other")
    await queue.requeue(job_id, from_step="mail", priority=3)
    assert set(await results(runtime, job_id)) == {"fetch", "charge"}
    other = await ended(runtime, *NAMES)
    await queue.requeue(other)
    assert await results(runtime, other) == {}


async def test_an_operation_runs_many_jobs_again_from_a_step(client: Client, runtime: Runtime) -> None:
    paid = [await failed(runtime, *NAMES, queue="shop") for _ in range(2)]
    before = await failed(runtime, "fetch", queue="shop")
    at_it = await failed(runtime, "fetch", step="charge", queue="shop")
    content = {"filter": {"queue": "shop"}, "fromStep": "charge"}
    looked = await post(client, "jobs/requeue", content | {"dryRun": True})
    assert looked["matched"] == 4
    assert all("steps" not in sample for sample in looked["samples"])
    begun = await post(client, "jobs/requeue", content, 202)
    assert begun["fromStep"] == "charge"

    async def finished() -> Any:
        shown = await (await client.get(f"/v1/operations/{begun['id']}")).json()
        return shown if shown["state"] == "finished" else None

    told = await eventually(finished)
    assert (told["done"], told["failed"], told["skipped"], told["fromStep"]) == (3, 1, 0, "charge")
    (refused,) = told["failures"]
    assert refused["id"] == before
    assert "has no step 'charge'" in refused["reason"]
    for job_id in (*paid, at_it):
        job = await runtime.jobs.get(job_id)
        assert [step.name for step in job.steps or ()] == ["fetch"]
        assert job.state is State.PENDING
    assert (await runtime.jobs.get(before)).state is State.FAILED
    entry = await runtime.database.collection("audit").find_one({"target.kind": "operation"})
    assert entry is not None
    assert entry["after"]["fromStep"] == "charge"


@pytest.mark.parametrize(("content", "problem"), [("x" * 101, "fromStep"), ("undo:a", "fromStep")])
async def test_a_wrong_name_is_refused_before_an_operation_begins(client: Client, content: str, problem: str) -> None:
    for dry_run in (True, False):
        told = await post(client, "jobs/requeue", {"all": True, "fromStep": content, "dryRun": dry_run}, 422)
        assert set(told["errors"]) == {problem}


@pytest.mark.parametrize("first", ["mail", None])
async def test_another_process_carries_on_an_operation_from_the_same_step(
    idle_runtime: Runtime, settings: Settings, first: str | None
) -> None:
    job_id = await failed(idle_runtime, *NAMES)
    new = NewOperation(action=Action.REQUEUE, by=ANN, all=True, from_step=first)
    made = await idle_runtime.operations.create(new)
    async with open_runtime(settings) as other:
        while await other.operations.carry_on(made.id):
            pass
        assert (await other.operations.store.get(made.id)).stage is Stage.FINISHED
    assert set(await results(idle_runtime, job_id)) == ({"fetch", "charge"} if first else set())


async def test_a_group_of_failures_is_started_again_from_a_step(client: Client, runtime: Runtime) -> None:
    first, second = [await failed(runtime, *NAMES, queue="shop") for _ in range(2)]
    (group,) = (await (await client.get("/v1/failures")).json())["items"]
    path = f"failures/{group['fingerprint']}/requeue"
    assert "fromStep" in (await post(client, path, {"trial": True, "fromStep": "other"}, 422))["errors"]
    tried = (await post(client, path, {"trial": True, "fromStep": "charge"}))["job"]
    assert [step["name"] for step in tried["steps"]] == ["fetch"]
    begun = await post(client, path, {"fromStep": None}, 202)
    assert begun["fromStep"] is None
    (other,) = {first, second} - {tried["id"]}

    async def is_back() -> bool:
        return (await runtime.jobs.get(other)).state is State.PENDING

    await eventually(is_back)
    assert (await runtime.jobs.get(other)).steps is None
