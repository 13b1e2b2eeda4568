"""Awaited children over HTTP: a worker that polls creates children, waits for them, and has their results."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

MIB = 1024 * 1024


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def post(client: Client, path: str, content: Any, status: int = 200) -> Any:
    body = io.BytesIO(json.dumps(content).encode())
    answer = await client.post(f"/v1/{path}", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == status, (await answer.text())[:1000]
    return await answer.json(content_type=None)


async def get(client: Client, path: str, status: int = 200) -> Any:
    answer = await client.get(f"/v1/{path}")
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None)


async def claim(client: Client, queue: str = "default") -> tuple[dict[str, Any], str]:
    """Claim the next job; return it as its worker has it, and the token."""
    got = await post(client, f"queues/{queue}/claim", {"worker": "poller", "wait": 0})
    return got["job"], got["token"]


async def parent_of(client: Client, runtime: Runtime, **fields: Any) -> tuple[str, str]:
    """Add a job and claim it; return its path and the token."""
    added = await add(runtime, "parent", **fields)
    _, token = await claim(client)
    return f"jobs/{added.id}", token


async def work_off(client: Client, results: list[Any]) -> list[dict[str, Any]]:
    """Run children in their order: a text fails the child with it, all else is the result."""
    seen = []
    for result in results:
        job, token = await claim(client, "children")
        seen.append(job)
        if isinstance(result, str):
            await post(client, f"jobs/{job['id']}/fail", {"token": token, "reason": result})
        else:
            await post(client, f"jobs/{job['id']}/succeed", {"token": token, "result": result})
    return seen


def jobs(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "child", "queue": "children", "data": {"n": n}, "attempts": 1, **fields} for n in range(count)]


async def test_a_worker_that_polls_awaits_a_list_of_children_and_a_single_one(
    client: Client, idle_runtime: Runtime
) -> None:
    path, token = await parent_of(client, idle_runtime)
    called = await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(3)})
    assert called == {"name": "many", "jobIds": 3, "unfinished": 3, "finished": False}
    assert await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(3)}) == called
    one = await post(client, f"{path}/calls", {"token": token, "name": "one", "jobs": jobs(1)[0]})
    assert one["jobIds"] == 1

    suspended = await post(client, f"{path}/suspend", {"token": token})
    assert (suspended["state"], suspended["delayTil"]) == ("delayed", None)
    shown = await get(client, path)
    assert shown["wait"] == {"names": ["many", "one"], "jobs": 4}
    assert [(step["name"], step["kind"], step["jobIds"], step["endAt"]) for step in shown["steps"]] == [
        ("many", "map", 3, None),
        ("one", "call", 1, None),
    ]
    seen = await work_off(client, [0, 1, 2])
    assert [child["data"]["n"] for child in seen] == [0, 1, 2]
    assert {child["parentId"] for child in seen} == {path.removeprefix("jobs/")}

    job, token = await claim(client)
    assert job["steps"] == {"many": [0, 1, 2]}
    await post(client, f"{path}/suspend", {"token": token})
    await work_off(client, [{"label": 7}])
    job, token = await claim(client)
    assert job["steps"] == {"many": [0, 1, 2], "one": {"label": 7}}
    again = await post(client, f"{path}/calls", {"token": token, "name": "one", "jobs": jobs(1)[0]})
    assert (again["finished"], again["unfinished"]) == (True, 0)
    await post(client, f"{path}/suspend", {"token": token}, 422)
    await post(client, f"{path}/succeed", {"token": token})
    assert (await get(client, f"jobs?parentId={job['id']}&fields=id"))["items"].__len__() == 4


async def test_children_that_have_ended_already_wake_their_parent_at_once(
    client: Client, idle_runtime: Runtime
) -> None:
    path, token = await parent_of(client, idle_runtime)
    await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(2)})
    await work_off(client, [1, 2])
    assert (await post(client, f"{path}/suspend", {"token": token}))["state"] == "pending"
    job, _ = await claim(client)
    assert job["steps"] == {"many": [1, 2]}


async def test_a_failed_child_is_an_error_for_this_attempt_and_runs_again_in_the_next(
    client: Client, idle_runtime: Runtime
) -> None:
    path, token = await parent_of(client, idle_runtime, attempts=2, backoff=0)
    body = {"name": "many", "jobs": jobs(2)}
    await post(client, f"{path}/calls", {"token": token, **body})
    await post(client, f"{path}/suspend", {"token": token})
    _, child = await work_off(client, [1, "no paper"])
    job, token = await claim(client)
    assert job["steps"] == {}
    error = job["stepErrors"]["many"]
    assert (error["kind"], error["step"]) == ("child", "many")
    assert error["message"] == f"map many: child {child['id']} has failed: fail: no paper (1 of 2 have failed)"
    refused = await post(client, f"{path}/calls", {"token": token, **body}, 409)
    assert child["id"] in refused["detail"]
    await post(client, f"{path}/fail", {"token": token, "reason": "a child has failed"})

    _, token = await claim(client)
    assert (await post(client, f"{path}/calls", {"token": token, **body}))["unfinished"] == 1
    await post(client, f"{path}/suspend", {"token": token})
    assert [job["id"] for job in await work_off(client, [2])] == [child["id"]]
    job, token = await claim(client)
    assert job["steps"] == {"many": [1, 2]}
    assert "stepErrors" not in job


async def test_failures_are_returned_in_the_place_of_results(client: Client, idle_runtime: Runtime) -> None:
    path, token = await parent_of(client, idle_runtime)
    await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(3), "failures": "return"})
    await post(client, f"{path}/suspend", {"token": token})
    _, failed, _ = await work_off(client, [1, "no paper", 3])
    job, _ = await claim(client)
    place = {"childFailed": {"id": failed["id"], "state": "failed", "error": {"kind": "fail", "message": "no paper"}}}
    assert job["steps"] == {"many": [1, place, 3]}


async def test_large_results_stay_with_the_children_and_are_read_in_parts(
    client: Client, idle_runtime: Runtime
) -> None:
    path, token = await parent_of(client, idle_runtime)
    await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(4, onSuccessDelete=True)})
    await post(client, f"{path}/suspend", {"token": token})
    large = [{"n": n, "text": "x" * (3 * MIB)} for n in range(4)]
    await work_off(client, large)
    job, token = await claim(client)
    assert (job["steps"], job["omittedSteps"]) == ({}, ["many"])
    results = f"{path}/steps/many/results?limit=3"
    first = await get(client, results)
    # Three take more than 8 MiB together.
    second = await get(client, f"{results}&cursor={first['next']}")
    assert [[item["n"] for item in page["items"]] for page in (first, second)] == [[0, 1], [2, 3]]
    assert second["next"] is None
    await get(client, f"{path}/steps/many/results?cursor=nonsense", 422)
    await post(client, f"{path}/succeed", {"token": token})
    assert await idle_runtime.jobs.readers.read(await idle_runtime.jobs.readers.page(None, 10)), (
        "nobody reads the children any more"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "undo:x"}, "name"),
        ({"jobs": "child"}, "jobs"),
        ({"jobs": [5]}, "jobs.0"),
        ({"jobs": {"queue": "q"}}, "jobs.type"),
        ({"jobs": [{"type": "child", "colour": "red"}]}, "jobs.0.colour"),
        ({"jobs": [{"type": "child", "dependsOn": ["0" * 24]}]}, "jobs.0.dependsOn.0"),
        ({"jobs": [{"type": "child", "key": "k"}, {"type": "child", "key": "k"}]}, "jobs.1.key"),
        ({"jobs": [{"type": "child"}] * 5001}, "jobs"),
        ({"failures": "ignore"}, "failures"),
    ],
)
async def test_a_wrong_call_is_refused_by_the_name_of_the_field(
    client: Client, idle_runtime: Runtime, change: dict[str, Any], field: str
) -> None:
    path, token = await parent_of(client, idle_runtime)
    refused = await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(1)} | change, 422)
    assert list(refused["errors"]) == [field]


async def test_a_stale_token_creates_no_children(client: Client, idle_runtime: Runtime) -> None:
    path, _ = await parent_of(client, idle_runtime)
    await post(client, f"{path}/calls", {"token": "of another", "name": "many", "jobs": jobs(1)}, 409)
    assert (await get(client, f"jobs?parentId={path.removeprefix('jobs/')}"))["items"] == []


async def test_a_step_of_another_kind_is_no_call(client: Client, idle_runtime: Runtime) -> None:
    path, token = await parent_of(client, idle_runtime)
    await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(1)})
    refused = await post(client, f"{path}/calls", {"token": token, "name": "many", "jobs": jobs(1)[0]}, 422)
    assert refused["errors"] == {"name": ["'many' is a map of the job already"]}
    await post(client, f"{path}/steps", {"token": token, "name": "fetch", "result": 1})
    await get(client, f"{path}/steps/fetch/results", 422)


async def test_a_taken_key_refuses_the_call_which_may_be_repeated(client: Client, idle_runtime: Runtime) -> None:
    holder = await add(idle_runtime, "other", queue="children", key="k")
    path, token = await parent_of(client, idle_runtime)
    body = {"token": token, "name": "many", "jobs": [*jobs(1), {"type": "child", "queue": "children", "key": "k"}]}
    refused = await post(client, f"{path}/calls", body, 409)
    assert holder.id in refused["detail"]
    await idle_runtime.manager.kill(holder.id)
    assert (await post(client, f"{path}/calls", body))["unfinished"] == 2
    assert len((await get(client, f"jobs?parentId={path.removeprefix('jobs/')}"))["items"]) == 2


async def test_a_claim_alone_creates_children_in_its_own_queue_only(client: Client, idle_runtime: Runtime) -> None:
    path, token = await parent_of(client, idle_runtime)
    foreign = await add(idle_runtime, queue="secret")
    for kept, status in (
        ({"type": "child", "queue": "secret"}, 403),
        ({"type": "child", "queue": "default", "onSuccess": {"type": "child", "queue": "secret"}}, 403),
        ({"type": "child", "queue": "default", "dependsOn": [foreign.id]}, 422),
        ({"type": "child", "queue": "default"}, 200),
    ):
        answer = await client.post(
            f"/v1/{path}/calls", json={"name": "a", "jobs": kept}, headers={"Authorization": f"Claim {token}"}
        )
        assert answer.status == status, await answer.text()
    assert await idle_runtime.database.collection("jobs").count_documents({"parentId": {"$ne": None}}) == 1


async def test_a_failed_child_runs_again_although_the_clock_was_set_back(client: Client, idle_runtime: Runtime) -> None:
    path, token = await parent_of(client, idle_runtime, attempts=5, backoff=0)
    asked = {"name": "a", "jobs": jobs(1)[0]}
    now = await idle_runtime.database.clock.now()
    await post(client, f"{path}/calls", asked | {"token": token})
    await post(client, f"{path}/suspend", {"token": token})
    idle_runtime.database.clock.present = now + timedelta(hours=1)
    await work_off(client, ["broken"])
    idle_runtime.database.clock.present = now + timedelta(seconds=5)
    _, token = await claim(client)
    for _ in range(2):
        await post(client, f"{path}/calls", asked | {"token": token}, 409)
    await post(client, f"{path}/fail", {"token": token, "reason": "it broke"})
    _, token = await claim(client)
    called = await post(client, f"{path}/calls", asked | {"token": token})
    assert called["unfinished"] == 1
