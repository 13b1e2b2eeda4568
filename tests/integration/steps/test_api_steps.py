"""Steps over HTTP: a worker that polls keeps results, waits without a slot and goes on where it was."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import State
from tests.support.data.factories import add
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

MIB = 1024 * 1024


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as client:
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


async def claim(client: Client) -> tuple[dict[str, Any], str]:
    """Claim the next job; return it as its worker has it, and the token."""
    got = await post(client, "queues/default/claim", {"worker": "poller", "wait": 30})
    return got["job"], got["token"]


async def begun(client: Client, runtime: Runtime, **fields: Any) -> tuple[str, str]:
    """Add a job and claim it; return the path of the job and the token."""
    added = await add(runtime, **fields)
    job, token = await claim(client)
    assert job["id"] == added.id
    return f"jobs/{added.id}", token


async def test_a_worker_that_polls_goes_on_at_the_step_that_failed(client: Client, runtime: Runtime) -> None:
    await add(runtime, attempts=2, backoff=0)
    job, token = await claim(client)
    assert job["steps"] == {}
    path = f"jobs/{job['id']}"
    kept = await post(client, f"{path}/steps", {"token": token, "name": "fetch", "result": {"rows": [1, 2]}})
    assert kept == {"result": {"rows": [1, 2]}, "existed": False}
    assert await post(client, f"{path}/steps", {"token": token, "name": "fetch", "result": 5}) == {
        "result": {"rows": [1, 2]},
        "existed": True,
    }
    await post(client, f"{path}/steps", {"token": token, "name": "mail"})
    await post(client, f"{path}/fail", {"token": token, "reason": "disk full"})

    again, second = await claim(client)
    assert again["steps"] == {"fetch": {"rows": [1, 2]}, "mail": None}
    await post(client, f"{path}/steps", {"token": second, "name": "store", "result": 2})
    await post(client, f"{path}/succeed", {"token": second})
    ended = await get(client, path)
    assert [entry["steps"] for entry in ended["history"]] == [["fetch", "mail"], ["store"]]
    assert [(step["name"], step["kind"], step["attempt"], step["tries"]) for step in ended["steps"]] == [
        ("fetch", "step", 1, 1),
        ("mail", "step", 1, 1),
        ("store", "step", 2, 1),
    ]
    assert [step["result"] for step in ended["steps"]] == [{"rows": [1, 2]}, None, 2]
    assert set(ended["steps"][0]) == {"name", "kind", "startAt", "endAt", "attempt", "tries", "size", "result"}


async def test_keeping_a_step_renews_the_lease(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime, lease=300)
    end = await runtime.jobs.collection.find_one_and_update({}, [{"$set": {"resetAt": "$startAt"}}])
    assert end is not None
    await post(client, f"{path}/steps", {"token": token, "name": "fetch"})
    assert (await get(client, path))["resetAt"] > datetime.now(UTC).isoformat()


async def test_a_step_of_an_earlier_claim_is_refused(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime, attempts=2, backoff=0)
    await post(client, f"{path}/retry", {"token": token})
    for route, content in (
        ("steps", {"name": "fetch"}),
        ("suspend", {"delay": 5}),
        ("suspend", {"name": "a", "delay": 5}),
    ):
        told = await post(client, f"{path}/{route}", {"token": token, **content}, 409)
        assert told["type"] == "/problems/stale-token"
    assert "steps" not in await get(client, path)
    await post(client, f"jobs/{'0' * 24}/steps", {"token": token, "name": "fetch"}, 404)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "undo:charge"}, "name"),
        ({"name": 5}, "name"),
        ({"result": 5}, "name"),
        ({"name": "fetch", "result": {"rows": [1, {"$a": 1}]}}, "result.rows.1.$a"),
        ({"name": "fetch", "result": 2**64}, "result"),
        ({"name": "fetch", "seconds": 5}, "seconds"),
        ({"name": "fetch", "token": None}, "token"),
    ],
)
async def test_a_step_that_cannot_be_kept_is_refused_by_name(
    client: Client, runtime: Runtime, content: dict[str, Any], field: str
) -> None:
    path, token = await begun(client, runtime)
    assert set((await post(client, f"{path}/steps", {"token": token, **content}, 422))["errors"]) == {field}
    assert "steps" not in await get(client, path)


async def test_a_result_that_is_too_large_is_refused_and_the_job_goes_on(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    told = await post(client, f"{path}/steps", {"token": token, "name": "big", "result": "x" * (4 * MIB)}, 413)
    assert "big" in told["detail"]
    await post(client, f"{path}/succeed", {"token": token})


async def test_a_job_has_at_most_a_thousand_steps(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    entry = {"kind": "step", "startAt": datetime.now(UTC), "endAt": datetime.now(UTC), "attempt": 1, "tries": 1}
    many = [{"name": f"page {number}", **entry, "result": None, "size": 3} for number in range(1000)]
    await runtime.jobs.collection.update_one({}, {"$set": {"steps": many}})
    for route, content in (("steps", {"name": "one more"}), ("suspend", {"name": "one more", "delay": 1})):
        told = await post(client, f"{path}/{route}", {"token": token, **content}, 422)
        assert "1,000" in told["errors"]["name"][0]
    assert (await post(client, f"{path}/steps", {"token": token, "name": "page 7"}))["existed"]


async def test_a_large_result_is_read_by_the_name_of_its_step(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    name = "fetch/ü 100%?"
    await post(client, f"{path}/steps", {"token": token, "name": name, "result": "x" * MIB})
    await post(client, f"{path}/steps", {"token": token, "name": "small", "result": [1]})
    shown = {step["name"]: step for step in (await get(client, path))["steps"]}
    assert shown[name]["stored"]
    assert "result" not in shown[name]
    step = await get(client, f"{path}/steps/{quote(name, safe='')}")
    assert (step["name"], step["kind"], step["result"]) == (name, "step", "x" * MIB)
    assert "stored" not in step
    assert (await get(client, f"{path}/steps/small"))["result"] == [1]
    for missing in (f"{path}/steps/other", f"{path}/steps/{'x' * 200}", f"jobs/{'0' * 24}/steps/small"):
        await get(client, missing, 404)
    await get(client, "jobs/x/steps/small", 422)


async def test_a_claim_names_the_steps_whose_results_have_no_room_in_it(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime, attempts=2, backoff=0)
    for name in ("a", "b", "c"):
        await post(client, f"{path}/steps", {"token": token, "name": name, "result": name * (7 * MIB // 2)})
    await post(client, f"{path}/fail", {"token": token, "reason": "no"})
    job, _ = await claim(client)
    assert [(name, len(result)) for name, result in job["steps"].items()] == [("a", 7 * MIB // 2), ("b", 7 * MIB // 2)]
    assert job["omittedSteps"] == ["c"]
    assert (await get(client, f"{path}/steps/c"))["result"] == "c" * (7 * MIB // 2)


async def test_a_named_wait_is_a_step_when_the_job_is_back(client: Client, runtime: Runtime) -> None:
    await runtime.queues.put("default", {"concurrency": 1})
    path, token = await begun(client, runtime, attempts=1)
    told = await post(client, f"{path}/suspend", {"token": token, "name": "cooling-off", "delay": 3600})
    asleep = await get(client, path)
    assert told == {"id": asleep["id"], "state": "delayed", "delayTil": asleep["delayTil"]}
    assert asleep["wait"] == {"names": ["cooling-off"], "until": asleep["delayTil"]}
    assert (asleep["attemptsMade"], asleep["claim"], asleep["error"]) == (0, None, None)
    assert asleep["history"][0]["outcome"] == "suspend"
    (step,) = asleep["steps"]
    assert (step["kind"], step["endAt"], step["until"]) == ("sleep", None, asleep["delayTil"])
    # The slot is free meanwhile.
    other = await add(runtime)
    job, second = await claim(client)
    assert job["id"] == other.id
    await post(client, f"jobs/{other.id}/succeed", {"token": second})
    # The same report after a reply that was lost.
    assert await post(client, f"{path}/suspend", {"token": token, "name": "cooling-off", "delay": 3600}) == told

    await runtime.jobs.collection.update_one(
        {"state": "delayed"},
        [
            {
                "$set": {
                    "delayTil": "$startAt",
                    "steps": [{"$mergeObjects": [{"$first": "$steps"}, {"until": "$startAt"}]}],
                }
            }
        ],
    )
    job, third = await claim(client)
    assert job["steps"] == {"cooling-off": None}
    assert "wait" not in job
    again = await post(client, f"{path}/suspend", {"token": third, "name": "cooling-off", "delay": 5}, 422)
    assert "has finished" in again["errors"]["name"][0]
    await post(client, f"{path}/steps", {"token": third, "name": "cooled", "result": 1})
    no_sleep = await post(client, f"{path}/suspend", {"token": third, "name": "cooled", "delay": 5}, 422)
    assert "no sleep" in no_sleep["errors"]["name"][0]
    await post(client, f"{path}/succeed", {"token": third})


async def test_a_wait_without_a_name_leaves_no_step(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    until = "2040-01-31T12:00:00.000Z"
    told = await post(client, f"{path}/suspend", {"token": token, "until": until})
    assert (told["state"], told["delayTil"]) == ("delayed", until)
    job = await get(client, path)
    assert "steps" not in job
    assert job["wait"] == {"names": [], "until": until}
    killed = await post(client, f"{path}/kill", {})
    assert killed["state"] == "killed"
    assert "wait" not in killed


async def test_a_wait_that_is_over_already_lasts_a_second_without_a_finished_step(
    client: Client, runtime: Runtime
) -> None:
    path, token = await begun(client, runtime)
    told = await post(client, f"{path}/suspend", {"token": token, "until": "2020-01-31T12:00:00Z"})
    ended = (await get(client, path))["history"][0]["endAt"]
    assert told["state"] == "delayed"
    seconds = datetime.fromisoformat(told["delayTil"]) - datetime.fromisoformat(ended)
    assert seconds.total_seconds() == 1


async def test_after_a_new_step_a_job_may_go_on_at_once(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    await post(client, f"{path}/steps", {"token": token, "name": "fetch", "result": 1})
    told = await post(client, f"{path}/suspend", {"token": token, "delay": 0})
    assert (told["state"], told["delayTil"]) == ("pending", None)
    job, second = await claim(client)
    assert job["steps"] == {"fetch": 1}
    # A named wait of no length is a step that has finished.
    assert (await post(client, f"{path}/suspend", {"token": second, "name": "pause", "delay": 0}))["state"] == "pending"
    job, _ = await claim(client)
    assert job["steps"] == {"fetch": 1, "pause": None}
    assert [entry["outcome"] for entry in (await get(client, path))["history"]] == ["suspend", "suspend", None]


async def test_a_suspension_whose_first_report_broke_off_half_way_is_made(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    job = await runtime.jobs.get(path.removeprefix("jobs/"))
    await runtime.work.steps.begin_sleep(job, token, "rest", seconds=0)
    told = await post(client, f"{path}/suspend", {"token": token, "name": "rest", "delay": 0})
    assert told["state"] == "pending"
    assert (await claim(client))[0]["steps"] == {"rest": None}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({}, "delay"),
        ({"name": "rest"}, "delay"),
        ({"delay": None, "until": None}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": "5"}, "delay"),
        ({"delay": 10**12}, "delay"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2030-01-31T12:00:00"}, "until"),
        ({"delay": 5, "until": "2030-01-31T12:00:00Z"}, "until"),
        ({"delay": 5, "name": "undo:x"}, "name"),
        ({"delay": 5, "sgnal": "approved"}, "sgnal"),
    ],
)
async def test_a_wrong_suspension_is_refused_by_name(
    client: Client, runtime: Runtime, content: dict[str, Any], field: str
) -> None:
    path, token = await begun(client, runtime)
    assert set((await post(client, f"{path}/suspend", {"token": token, **content}, 422))["errors"]) == {field}
    assert (await get(client, path))["state"] == "processing"


async def test_a_suspension_is_neither_a_failure_nor_a_retry(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    await post(client, f"{path}/suspend", {"token": token, "delay": 3600})
    metrics = await (await client.get("/metrics")).text()
    assert 'jobqueue_attempts_total{outcome="suspend",queue="default"} 1.0' in metrics
    assert "jobqueue_finished_total{" not in metrics
    (hour,) = (await get(client, "stats?window=1h"))["windows"].values()
    assert hour["queues"][0]["attempts"]["suspend"] == 1
    assert sum(hour["queues"][0]["attempts"].values()) == 1
    assert (hour["queues"][0]["failed"], hour["queues"][0]["succeeded"]) == (0, 0)


async def test_lists_show_steps_without_their_results(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    await post(client, f"{path}/steps", {"token": token, "name": "fetch", "result": "secret rows"})
    await post(client, f"{path}/suspend", {"token": token, "name": "rest", "delay": 3600})
    await add(runtime)
    for page in (
        await get(client, "jobs"),
        await get(client, "jobs?fields=steps,wait"),
        await post(client, "jobs/search", {}),
    ):
        plain, job = page["items"]
        assert "steps" not in plain
        assert [step["name"] for step in job["steps"]] == ["fetch", "rest"]
        assert all("result" not in step for step in job["steps"])
        assert job["wait"]["names"] == ["rest"]
    page = await get(client, "jobs?fields=steps.name,steps.endAt")
    assert [set(step) for step in page["items"][1]["steps"]] == [{"name", "endAt"}, {"name", "endAt"}]
    assert (await client.get("/v1/jobs?fields=steps.result")).status == 422


async def test_jobs_are_found_by_their_steps_and_by_what_they_wait_for(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    await post(client, f"{path}/steps", {"token": token, "name": "fetch", "result": "secret rows"})
    await post(client, f"{path}/suspend", {"token": token, "name": "rest", "delay": 3600})
    await add(runtime)
    job_id = path.removeprefix("jobs/")
    for search in (
        {"steps.name": "fetch"},
        {"steps": {"$elemMatch": {"name": "rest", "kind": "sleep", "endAt": None}}},
        {"wait.names": "rest"},
        {"wait.until": {"$gt": "2020-01-01T00:00:00Z"}},
        {"history.steps": "fetch"},
        {"steps": {"$size": 2}},
    ):
        page = await post(client, "jobs/search", {"filter": search})
        assert [job["id"] for job in page["items"]] == [job_id], search
    for unknown in ("steps.result", "steps.size", "steps.storedId"):
        await post(client, "jobs/search", {"filter": {unknown: None}}, 422)
    rows = await post(client, "jobs/aggregate", {"pipeline": [{"$unwind": "$steps"}, {"$sortByCount": "$steps.name"}]})
    assert sorted(row["_id"] for row in rows["items"]) == ["fetch", "rest"]
    assert "secret rows" not in str(
        await post(client, "jobs/aggregate", {"pipeline": [{"$match": {"steps.name": "fetch"}}]})
    )
    told = await post(client, "jobs/aggregate", {"pipeline": [{"$group": {"_id": "$steps"}}]}, 422)
    assert "steps.name" in str(told["errors"])


async def test_a_job_that_is_suspended_comes_back_by_itself(client: Client, runtime: Runtime) -> None:
    path, token = await begun(client, runtime)
    await post(client, f"{path}/suspend", {"token": token, "name": "rest", "delay": 0.2})

    async def is_back() -> bool:
        return (await runtime.jobs.get(path.removeprefix("jobs/"))).state is State.PENDING

    await eventually(is_back)
    assert (await claim(client))[0]["steps"] == {"rest": None}
