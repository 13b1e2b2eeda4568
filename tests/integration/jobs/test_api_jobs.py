from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.jobs.job import NewJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


async def add(client: Client, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/jobs", json={"type": "a", **fields})
    assert response.status == 201, await response.text()
    job: dict[str, Any] = await response.json()
    return job


async def body(response: ClientResponse, status: int) -> dict[str, Any]:
    assert response.status == status, await response.text()
    read: dict[str, Any] = await response.json(content_type=None)
    return read


async def count(runtime: Runtime) -> int:
    return int(await runtime.jobs.collection.count_documents({}))


async def test_a_job_is_created_and_found_where_location_says(client: Client) -> None:
    given = {
        "type": "render",
        "queue": "media",
        "data": {"src": "a.png", "deep": {"n": [1, 2.5, None, True]}},
        "meta": {"user_id": 42},
        "priority": 5,
        "attempts": 7,
        "backoff": [10, 60, 600],
        "delay": 3600,
        "lease": 30,
        "timeout": 900,
        "key": "a.png",
        "onSuccessDelete": True,
        "onSuccess": [{"type": "notify", "data": {"to": "x"}, "onFailure": {"type": "alarm"}}],
        "onComplete": {"type": "clean"},
    }
    response = await client.post("/v1/jobs", json=given)
    made = await body(response, 201)
    assert made == await body(await client.get(response.headers["Location"]), 200)
    assert {name: made[name] for name in given if not name.startswith("on")} == {
        name: value for name, value in given.items() if not name.startswith("on")
    }
    assert (made["state"], made["attemptsMade"], made["progress"], made["onSuccessDelete"]) == ("delayed", 0, 0, True)
    assert made["onComplete"] == {"type": "clean", "queue": "default"}
    assert made["onSuccess"][0]["onFailure"]["type"] == "alarm"


async def test_a_key_that_is_taken_names_the_job_that_has_it(client: Client) -> None:
    first = await add(client, key="one")
    told = await body(await client.post("/v1/jobs", json={"type": "b", "key": "one"}), 409)
    assert (told["type"], told["jobId"]) == ("/problems/key-conflict", first["id"])


async def test_many_jobs_are_created_all_or_none(client: Client, runtime: Runtime) -> None:
    jobs = [{"type": "a", "data": {"n": number}, "key": f"k{number}"} for number in range(1000)]
    made = await body(await client.post("/v1/jobs/bulk", json={"jobs": jobs}), 201)
    assert [job["data"]["n"] for job in made["items"]] == list(range(1000))
    assert await count(runtime) == 1000
    clash = await body(await client.post("/v1/jobs/bulk", json={"jobs": [{"type": "b"}, jobs[3]]}), 409)
    assert clash["jobId"] == made["items"][3]["id"]
    assert await count(runtime) == 1000


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        ([], {"jobs"}),
        ([{"type": "a"}] * 1001, {"jobs"}),
        ("x", {"jobs"}),
        (
            [{"type": "a"}, 5, {"type": "a"}, {"type": "a", "priority": "x", "zz": 1}],
            {"jobs.1", "jobs.3.priority", "jobs.3.zz"},
        ),
        ([{"type": "a", "key": "k"}, {"type": "a", "key": "k"}], {"jobs.1.key"}),
        ([{"type": "a"}, {"type": "a", "onSuccess": [{"type": "b", "delay": -1}]}], {"jobs.1.onSuccess.0.delay"}),
    ],
)
async def test_a_mistake_in_one_of_many_is_named_and_none_is_stored(
    client: Client, runtime: Runtime, jobs: Any, names: set[str]
) -> None:
    told = await body(await client.post("/v1/jobs/bulk", json={"jobs": jobs}), 422)
    assert set(told["errors"]) == names
    assert await count(runtime) == 0


async def test_the_same_many_at_once_make_one_of_each_key(client: Client, runtime: Runtime) -> None:
    jobs = [{"type": "a", "key": f"k{number}"} for number in range(20)]
    answers = await asyncio.gather(*(client.post("/v1/jobs/bulk", json={"jobs": jobs}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7
    assert await count(runtime) == 20


@pytest.mark.parametrize(
    ("given", "status", "name"),
    [
        (b'{"type": "a", "when": 1}', 422, "when"),
        (b'{"type": 5}', 422, "type"),
        (b'{"type": "a", "priority": "5"}', 422, "priority"),
        (b'{"type": "a", "delay": -1}', 422, "delay"),
        (b'{"type": "a", "attempts": 0}', 422, "attempts"),
        (b'{"type": "a", "priority": 1180591620717411303424}', 422, "priority"),
        (b'{"type": "a", "priority": ' + b"9" * 5000 + b"}", 422, "priority"),
        (b'{"type": "a", "data": {"n": 18446744073709551616}}', 422, "data.n"),
        (b'{"type": "a", "data": {"a\\u0000b": 1}}', 422, "data.a\\x00b"),
        (b'{"type": "a", "data": {"$set": 1}}', 422, "data.$set"),
        (b'{"type": "a", "meta": {"$where": "1"}}', 422, "meta.$where"),
        (b'{"type": "a", "queue": "a.b"}', 422, "queue"),
        (b'{"type": "a", "data": ' + b'{"a":' * 70 + b"1" + b"}" * 71, 422, "data" + ".a" * 64),
        (b'{"type": "a", "data": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, None),
        (b'{"type": "a", "data": {"n": NaN}}', 400, None),
        (b'{"type": "a", "data": {"n": 1e999}}', 400, None),
        (b'{"type": "a", "data": {"s": "\\ud800"}}', 400, None),
        (b'{"type": "a", "type": "b"}', 400, None),
        (b'{"type": "a"', 400, None),
        (b'\xef\xbb\xbf{"type": "a"}', 400, None),
        (b'{"type": "\xff"}', 400, None),
        (b"", 400, None),
    ],
)
async def test_a_bad_job_is_refused_by_name_and_not_stored(
    client: Client, runtime: Runtime, given: bytes, status: int, name: str | None
) -> None:
    response = await client.post("/v1/jobs", data=given, headers=JSON)
    assert response.content_type == "application/problem+json"
    told = await body(response, status)
    if name is not None:
        assert list(told["errors"]) == [name]
    assert await count(runtime) == 0


async def test_unusual_but_valid_content_comes_back_unchanged(client: Client) -> None:
    data = {"a.b": 1, "": {"x": "\0 \U0001f600 \u2028"}, "n": [2**63 - 1, -(2**63), 1.5e300, 0.1], "e": {}, "l": []}
    job = await add(client, data=data, meta={"ünï": "<b>"})
    read = await body(await client.get(f"/v1/jobs/{job['id']}"), 200)
    assert (read["data"], read["meta"]) == (data, {"ünï": "<b>"})


async def test_a_waiting_job_is_changed_and_a_wrong_change_is_refused(client: Client) -> None:
    job = await add(client, timeout=5)
    path = f"/v1/jobs/{job['id']}"
    changes = {
        "data": {"n": 2},
        "meta": {"a": 1},
        "priority": 9,
        "attempts": 4,
        "backoff": 60,
        "lease": 90,
        "timeout": None,
        "delayTil": "2099-01-01T00:00:00.000Z",
    }
    changed = await body(await client.patch(path, json=changes), 200)
    assert {name: changed[name] for name in changes} == changes
    assert changed["state"] == "delayed"
    due = await body(await client.patch(path, json={"delayTil": None}), 200)
    assert (due["state"], due["delayTil"]) == ("pending", None)
    told = await body(await client.patch(path, json={"state": "success", "queue": "x"}), 422)
    assert set(told["errors"]) == {"state", "queue"}
    told = await body(await client.patch(path, json={"priority": 2**70, "lease": -1, "data": {"$a": 1}}), 422)
    assert set(told["errors"]) == {"priority", "lease", "data.$a"}
    assert await body(await client.get(path), 200) == due


async def test_a_running_job_is_neither_changed_nor_requeued_nor_deleted(client: Client) -> None:
    job = await add(client)
    await client.post("/v1/queues/default/claim", json={"worker": "w"})
    path = f"/v1/jobs/{job['id']}"
    for response in (
        await client.patch(path, json={"priority": 1}),
        await client.post(f"{path}/requeue"),
        await client.delete(path),
    ):
        told = await body(response, 409)
        assert (told["type"], "processing" in told["detail"]) == ("/problems/wrong-state", True)


async def test_a_job_is_killed_requeued_with_other_values_and_deleted(client: Client) -> None:
    job = await add(client, data={"n": 1}, priority=1)
    path = f"/v1/jobs/{job['id']}"
    killed = await body(await client.post(f"{path}/kill", json={"reason": "not needed"}), 200)
    assert (killed["state"], killed["error"]["message"]) == ("killed", "not needed")
    assert (await body(await client.post(f"{path}/kill"), 409))["type"] == "/problems/wrong-state"
    told = await body(await client.post(f"{path}/requeue", json={"attempts": 0, "backoff": "x"}), 422)
    assert set(told["errors"]) == {"attempts", "backoff"}
    changes = {"data": {"n": 2}, "priority": 3, "attempts": 9, "backoff": [1, 2]}
    again = await body(await client.post(f"{path}/requeue", json=changes), 200)
    assert {name: again[name] for name in changes} == changes
    assert (again["state"], again["history"][-1]["was"]["data"]) == ("pending", {"n": 1})
    assert (await client.delete(path)).status == 204
    assert (await client.get(path)).status == 404
    assert (await client.delete(path)).status == 404


async def test_the_family_of_a_job_is_a_tree(client: Client, runtime: Runtime) -> None:
    job = await add(
        client, onComplete={"type": "b"}, onFailure=[{"type": "c"}, {"type": "d", "onComplete": {"type": "e"}}]
    )
    await client.post(f"/v1/jobs/{job['id']}/kill")
    found = await body(await client.get(f"/v1/jobs/{job['id']}/family"), 200)
    children = {child["type"]: child for child in found["job"]["children"]}
    assert set(children) == {"b", "c", "d"}
    assert children["b"]["parentId"] == job["id"]
    assert found["job"]["error"]["message"] == "killed by a person"
    await client.post(f"/v1/jobs/{children['d']['id']}/kill")
    whole = await body(await client.get(f"/v1/jobs/{job['id']}/family"), 200)
    child = next(one for one in whole["job"]["children"] if one["type"] == "d")
    grandchild = await body(await client.get(f"/v1/jobs/{child['children'][0]['id']}/family"), 200)
    assert [one["type"] for one in grandchild["ancestors"]] == ["a", "d"]
    assert await count(runtime) == 5


async def test_what_a_claim_changes_is_seen_by_the_python_side_too(client: Client, runtime: Runtime) -> None:
    made = await runtime.producer.add(NewJob(type="py", data={"a": 1}))
    read = await body(await client.get(f"/v1/jobs/{made.id}"), 200)
    assert (read["type"], read["data"]) == ("py", {"a": 1})
