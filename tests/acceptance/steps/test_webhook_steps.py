"""Steps of webhooks, against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.steps.served import Served, receiving, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def served(tmp_path: Path, mongo_url: str, db_name: str) -> AsyncIterator[Served]:
    async with serving(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name}) as served:
        yield served


async def configure(served: Served, url: str) -> None:
    await served.configure(processors={"*": {"kind": "webhook", "url": url}})


async def test_one_call_a_step(served: Served) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        done = body["job"]["steps"]
        if len(done) < 3:
            return 200, {"outcome": "suspend", "delay": 0, "steps": {f"step {len(done)}": {"sum": len(done)}}}
        return 200, {"outcome": "success", "result": sum(step["sum"] for step in done.values())}

    async with receiving(answer) as (url, requests):
        await configure(served, url)
        job = await served.ended(await served.add("order", attempts=1))
    assert job["result"] == 3
    assert [list(body["job"]["steps"]) for _, body in requests] == [
        [],
        ["step 0"],
        ["step 0", "step 1"],
        ["step 0", "step 1", "step 2"],
    ]
    assert len({identifier for identifier, _ in requests}) == 4
    assert [entry["outcome"] for entry in job["history"]] == ["suspend", "suspend", "suspend", "success"]
    assert [entry["steps"] for entry in job["history"][:3]] == [["step 0"], ["step 1"], ["step 2"]]
    assert job["attemptsMade"] == 1
    steps = [(step["name"], step["kind"], step["result"]) for step in job["steps"]]
    assert steps == [(f"step {n}", "step", {"sum": n}) for n in range(3)]


async def test_a_named_wait_is_a_step_and_a_failure_keeps_steps(served: Served) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        done = body["job"]["steps"]
        if "fetch" not in done:
            return 500, {"steps": {"fetch": [1, 2], "fetch more": None}}
        if "rest" not in done:
            return 200, {"outcome": "suspend", "delay": 1, "name": "rest"}
        return 200, {"outcome": "success", "result": done, "steps": {"last": True}}

    async with receiving(answer) as (url, requests):
        await configure(served, url)
        job = await served.ended(await served.add("order", attempts=2, backoff=0))
    assert [entry["outcome"] for entry in job["history"]] == ["fail", "suspend", "success"]
    assert job["result"] == {"fetch": [1, 2], "fetch more": None, "rest": None}
    steps = [(step["name"], step["kind"]) for step in job["steps"]]
    assert steps == [("fetch", "step"), ("fetch more", "step"), ("rest", "sleep"), ("last", "step")]
    first, second, third = [identifier for identifier, _ in requests]
    assert (first == second, second == third) == (True, False)


async def test_a_step_that_cannot_be_kept_fails_the_attempt(served: Served) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        bad: dict[str, Any] = {"name": {"undo:a": 1}, "result": {"large": {"$where": 1}}, "form": [1]}
        reported = bad[body["job"]["type"]]
        steps = {"good": 1, **reported} if isinstance(reported, dict) else reported
        return 200, {"outcome": "suspend", "delay": 0, "steps": steps}

    async with receiving(answer) as (url, _):
        await configure(served, url)
        jobs = {name: await served.ended(await served.add(name, attempts=1)) for name in ("name", "result", "form")}
    assert {name: job["error"]["kind"] for name, job in jobs.items()} == dict.fromkeys(jobs, "step")
    assert "'undo:a'" in jobs["name"]["error"]["message"]
    assert "'large'" in jobs["result"]["error"]["message"]
    assert "must be an object" in jobs["form"]["error"]["message"]
    assert [[step["name"] for step in jobs[name]["steps"]] for name in ("name", "result")] == [["good"], ["good"]]


async def test_a_webhook_waits_for_a_signal_or_runs_out_of_time(served: Served) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        done = body["job"]["steps"]
        if "approved" not in done:
            return 200, {"outcome": "suspend", "signal": "approved"}
        if "late" not in done:
            return 503, {"outcome": "suspend", "signal": "again", "name": "late", "timeout": 1}
        return 200, {"outcome": "success", "result": done}

    async with receiving(answer) as (url, _):
        await configure(served, url)
        job_id = await served.add("order", attempts=1)
        sent = await served.call("POST", f"/v1/jobs/{job_id}/signals/approved", {"value": [1]})
        assert not sent["existed"]
        job = await served.ended(job_id)
    error = {"kind": "timeout", "message": "the signal has not come in time"}
    assert job["result"] == {"approved": [1], "late": {"error": error}}, job["error"]
    assert job["attemptsMade"] == 1


async def test_a_webhook_awaits_children_and_has_their_results(served: Served) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        job = body["job"]
        if job["type"] == "child":
            return 200, {"outcome": "success", "result": 2 * job["data"]["n"]}
        if "label" not in job["steps"]:
            children = [{"type": "child", "data": {"n": n}} for n in range(3)]
            calls = {"label": {"type": "child", "data": {"n": 21}}, "thumbs": {"jobs": children, "failures": "return"}}
            return 200, {"outcome": "suspend", "calls": calls}
        if "thumbs" not in job["steps"]:
            return 200, {"outcome": "suspend", "delay": 0, "calls": {"thumbs": []}}
        return 200, {"outcome": "success", "result": job["steps"]}

    async with receiving(answer) as (url, _):
        await configure(served, url)
        job = await served.ended(await served.add("order", attempts=1))
    assert job["result"] == {"label": 42, "thumbs": [0, 2, 4]}
    assert [(step["name"], step["kind"], step["jobIds"]) for step in job["steps"]] == [
        ("label", "call", 1),
        ("thumbs", "map", 3),
    ]
    assert job["attemptsMade"] == 1


async def test_a_failed_child_fails_an_attempt_of_a_webhook_and_runs_again_in_the_next(served: Served) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        job = body["job"]
        if job["type"] == "child":
            again = any(entry["outcome"] == "requeue" for entry in job["history"])
            return (200, "printed") if again else (500, "no paper")
        if "label" in job["steps"]:
            return 200, {"outcome": "success", "result": job["steps"]["label"]}
        return 200, {"outcome": "suspend", "calls": {"label": {"type": "child", "attempts": 1}}}

    async with receiving(answer) as (url, _):
        await configure(served, url)
        job = await served.ended(await served.add("order", attempts=2, backoff=0))
    assert (job["state"], job["result"]) == ("success", "printed")
    assert [entry["outcome"] for entry in job["history"]] == ["suspend", "fail", "suspend", "success"]
    assert (job["history"][1]["error"]["kind"], job["history"][1]["error"]["step"]) == ("child", "label")


async def test_children_that_cannot_be_created_fail_the_attempt_of_a_webhook(served: Served) -> None:
    calls: dict[str, Any] = {
        "form": [1],
        "job": {"a": 5},
        "field": {"a": {"type": "x", "colour": 1}},
        "name": {"undo:a": {}},
    }

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"outcome": "suspend", "calls": calls[body["job"]["type"]]}

    async with receiving(answer) as (url, _):
        await configure(served, url)
        jobs = {name: await served.ended(await served.add(name, attempts=1)) for name in calls}
    assert {name: job["error"]["kind"] for name, job in jobs.items()} == dict.fromkeys(calls, "step")
    assert "job.colour: is not a known field" in jobs["field"]["error"]["message"]
