"""Logs, failures and what is done to many jobs, over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientPayloadError
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import add, claimed_job, fail, job_in, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="python")


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


async def get(client: Client, path: str, **query: str) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def post(client: Client, path: str, given: Any = None, *, status: int = 200) -> Any:
    answer = await client.post(path, json=given) if given is not None else await client.post(path)
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None)


async def ended(client: Client, operation: dict[str, Any]) -> dict[str, Any]:
    async def look() -> Any:
        found = await get(client, f"/v1/operations/{operation['id']}")
        return found if found["state"] != "running" else None

    found: dict[str, Any] = await eventually(look)
    return found


async def failed(runtime: Runtime, message: str = "no user 5", **fields: Any) -> str:
    claimed = await claimed_job(runtime, attempts=1, **fields)
    await fail(runtime, claimed, JobError(kind="LookupError", message=message))
    return claimed.job.id


async def test_a_log_is_paged_narrowed_and_followed(client: Client, runtime: Runtime) -> None:
    claimed = await claimed_job(runtime)
    lines = [(f"line {number}", "error" if number % 10 == 0 else None) for number in range(450)]
    await runtime.work.report(claimed.job, claimed.token, lines=lines)
    path = f"/v1/jobs/{claimed.job.id}/logs"
    first = await get(client, path, limit="300")
    second = await get(client, path, limit="300", cursor=first["next"])
    assert [one["m"] for one in first["items"] + second["items"]] == [line for line, _ in lines]
    assert (second["next"], second["ended"]) == (None, False)
    errors = await get(client, path, level="error,fatal", attempt="1", limit="5", cursor=first["next"])
    assert [one["m"] for one in errors["items"]] == [f"line {number}" for number in range(300, 350, 10)]
    assert (await get(client, path, attempt="2"))["items"] == []
    following = asyncio.create_task(get(client, path, cursor=second["resume"], wait="30"))
    await eventually(lambda: runtime.logs._waiting)
    await runtime.work.report(claimed.job, claimed.token, lines=[("new", None)])
    told = await following
    assert ([one["m"] for one in told["items"]], told["ended"]) == (["new"], False)
    following = asyncio.create_task(get(client, path, cursor=told["resume"], wait="30"))
    await succeed(runtime, claimed)
    assert (await following)["ended"]


@pytest.mark.parametrize("how", [{"params": {"format": "text"}}, {"headers": {"Accept": "text/plain"}}])
async def test_a_log_is_downloaded_as_text(client: Client, runtime: Runtime, how: dict[str, Any]) -> None:
    claimed = await claimed_job(runtime)
    for start in range(0, 2500, 500):
        lines = [(f"ä {number}", "info") for number in range(start, start + 500)]
        await runtime.work.report(claimed.job, claimed.token, lines=lines)
    answer = await client.get(f"/v1/jobs/{claimed.job.id}/logs", **how)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="job-{claimed.job.id}.log"'
    text = await answer.text()
    assert [line.split(" ", 1)[1] for line in text.splitlines()] == [f"#1 info ä {number}" for number in range(2500)]
    assert (await client.head(f"/v1/jobs/{claimed.job.id}/logs", **how)).status == 200
    assert (await client.get(f"/v1/jobs/{'f' * 24}/logs", **how)).status == 404


async def test_a_download_that_breaks_off_is_seen_to_be_incomplete(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(runtime)
    await runtime.work.report(claimed.job, claimed.token, lines=[("one", None)])
    whole = runtime.logs.all

    async def broken(*arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async for part in whole(*arguments, **options):
            yield part
        raise DatabaseUnavailableError("gone")

    monkeypatch.setattr(runtime.logs, "all", broken)
    answer = await client.get(f"/v1/jobs/{claimed.job.id}/logs", params={"format": "text"})
    assert answer.status == 200
    with pytest.raises(ClientPayloadError):
        await answer.read()


async def test_a_log_as_json_stays_json_for_whoever_takes_anything(client: Client, runtime: Runtime) -> None:
    job = await add(runtime)
    for accepted in ("*/*", "text/html, text/plain, application/json", "text/plain, */*;q=0.1"):
        answer = await client.get(f"/v1/jobs/{job.id}/logs", headers={"Accept": accepted})
        assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"wait": "61", "attempt": "x", "format": "xml"}, {"wait", "attempt", "format"}),
        ({"level": "", "limit": "0"}, {"limit"}),
        ({"level": "a,,b"}, {"level"}),
        ({"level": ",".join("abcdefghijk")}, {"level"}),
        ({"wait": "1", "format": "text"}, {"wait"}),
    ],
)
async def test_what_no_log_can_be_asked_for_is_named(
    client: Client, runtime: Runtime, query: dict[str, str], named: set[str]
) -> None:
    job = await add(runtime)
    answer = await client.get(f"/v1/jobs/{job.id}/logs", params=query)
    assert answer.status == 422
    assert set((await answer.json(content_type=None))["errors"]) == named


async def test_failures_are_grouped_tried_and_requeued(client: Client, runtime: Runtime) -> None:
    ids = {await failed(runtime, f"no user {number}", queue=f"q{number % 2}") for number in range(5)}
    await failed(runtime, "other", queue="q0")
    page = await get(client, "/v1/failures", limit="1")
    (group,) = page["items"]
    assert (group["count"], group["message"], group["queues"]) == (5, "no user <n>", ["q0", "q1"])
    assert group["sample"]["id"] in ids
    rest = await get(client, "/v1/failures", limit="1", cursor=page["next"])
    assert [one["message"] for one in rest["items"]] == ["other"]
    assert rest["next"] is None
    assert [one["count"] for one in (await get(client, "/v1/failures", queue="q1", sort="-lastAt"))["items"]] == [2]
    path = f"/v1/failures/{group['fingerprint']}/requeue"
    tried = await post(client, path, {"trial": True, "attempts": 4})
    assert (tried["job"]["id"] in ids, tried["job"]["state"], tried["job"]["attempts"]) == (True, "pending", 4)
    preview = await post(client, path, {"dryRun": True, "queue": "q0"})
    assert preview["matched"] in {2, 3}
    begun = await post(client, path, status=202)
    assert (begun["action"], begun["fingerprint"], begun["matched"]) == ("requeue", group["fingerprint"], 4)
    assert (await ended(client, begun))["done"] == 4
    assert (await post(client, path, {}, status=404))["status"] == 404


async def test_many_jobs_are_requeued_killed_and_deleted_by_a_filter(client: Client, runtime: Runtime) -> None:
    for _ in range(3):
        await failed(runtime, queue="media", meta={"user": 7})
    await failed(runtime, queue="other", meta={"user": 8})
    wanted = {"filter": {"queue": "media", "state": "failed", "meta.user": 7}}
    preview = await post(client, "/v1/jobs/requeue", {**wanted, "dryRun": True})
    assert (preview["action"], preview["matched"], preview["isExact"], len(preview["samples"])) == (
        "requeue",
        3,
        True,
        3,
    )
    assert (await get(client, "/v1/operations"))["items"] == []
    answer = await client.post("/v1/jobs/requeue", json={**wanted, "priority": 5, "backoff": [1, 2]})
    begun = await answer.json()
    assert (answer.status, answer.headers["Location"]) == (202, f"/v1/operations/{begun['id']}")
    done = await ended(client, begun)
    assert (done["state"], done["done"], done["filter"], done["by"]["via"]) == ("finished", 3, wanted["filter"], "http")
    jobs = (await get(client, "/v1/jobs", queue="media"))["items"]
    assert {(job["state"], job["priority"], job["history"][-1]["operation"]) for job in jobs} == {
        ("pending", 5, begun["id"])
    }
    killed = await post(client, "/v1/jobs/kill", {"filter": {"queue": "media"}, "reason": "no more"}, status=202)
    assert (await ended(client, killed))["done"] == 3
    deleted = await post(client, "/v1/jobs/delete", {"all": True}, status=202)
    assert (await ended(client, deleted))["done"] == 4
    assert (await get(client, "/v1/jobs"))["items"] == []
    pages = [await get(client, "/v1/operations", limit="2")]
    pages.append(await get(client, "/v1/operations", limit="2", cursor=pages[0]["next"]))
    assert [[one["action"] for one in page["items"]] for page in pages] == [["delete", "kill"], ["requeue"]]
    assert (await post(client, f"/v1/operations/{begun['id']}/stop", status=409))["status"] == 409


@pytest.mark.parametrize(
    ("path", "given", "named"),
    [
        ("requeue", {}, {"filter"}),
        ("delete", {"filter": {}}, {"filter"}),
        ("kill", {"all": False}, {"filter"}),
        ("kill", {"filter": {"queue": "a"}, "all": True}, {"all"}),
        ("kill", {"all": True, "data": {}}, {"data"}),
        ("delete", {"all": True, "reason": "x"}, {"reason"}),
        ("requeue", {"all": True, "attempts": 0}, {"attempts"}),
        ("requeue", {"all": True, "dryRun": "yes"}, {"dryRun"}),
        ("requeue", {"filter": {"$where": "1"}}, {"filter.$where"}),
        ("delete", {"filter": {"queue": {"$gt": {"$function": 1}}}}, {"filter.queue.$gt"}),
        ("kill", {"filter": [], "reason": "x" * 1001}, {"filter"}),
        ("kill", {"all": True, "reason": "x" * 1001}, {"reason"}),
    ],
)
async def test_what_would_be_a_mistake_is_refused(client: Client, path: str, given: Any, named: set[str]) -> None:
    told = await post(client, f"/v1/jobs/{path}", given, status=422)
    assert set(told["errors"]) == named
    assert (await get(client, "/v1/operations"))["items"] == []


async def test_a_caller_reaches_only_what_is_in_its_scope(client: Client, runtime: Runtime) -> None:
    hidden = await failed(runtime, queue="hidden")
    await failed(runtime, queue="seen")
    everything = await post(client, "/v1/jobs/kill", {"all": True}, status=202)
    _, token = await runtime.access.create(roles=["admin"], queues=["seen"], name="ann", by=ANN)
    client.session.headers["Authorization"] = f"Bearer {token}"
    assert (await client.get(f"/v1/jobs/{hidden}/logs")).status == 404
    (group,) = (await get(client, "/v1/failures"))["items"]
    assert (group["count"], group["queues"]) == (1, ["seen"])
    assert (await get(client, "/v1/operations"))["items"] == []
    assert (await client.get(f"/v1/operations/{everything['id']}")).status == 404
    assert (await client.post(f"/v1/operations/{everything['id']}/stop")).status == 404
    done = await ended(client, await post(client, "/v1/jobs/requeue", {"all": True}, status=202))
    assert (done["done"], done["by"]["name"].startswith("ann ")) == (1, True)
    assert (await runtime.jobs.get(hidden)).state is State.FAILED
    assert (await client.post(f"/v1/failures/{group['fingerprint']}/requeue", json={"trial": True})).status == 404


@pytest.mark.parametrize(
    "path", ["/v1/failures/xyz/requeue", "/v1/operations/1/stop", "/v1/failures/" + "F" * 16 + "/requeue"]
)
async def test_a_path_that_names_nothing_is_refused(client: Client, path: str) -> None:
    assert (await client.post(path)).status == 422


@pytest.mark.parametrize(
    "query",
    [{"state": "success"}, {"sort": "count"}, {"cursor": "x"}, {"limit": "201"}, {"queue": "a b"}, {"endedAfter": "1"}],
)
async def test_a_listing_of_failures_is_checked(client: Client, query: dict[str, str]) -> None:
    answer = await client.get("/v1/failures", params=query)
    assert answer.status == 422
    assert set((await answer.json(content_type=None))["errors"]) == set(query)


async def test_a_job_in_a_state_that_was_not_named_is_left_alone(client: Client, runtime: Runtime) -> None:
    await job_in(runtime, State.SUCCESS, queue="a")
    begun = await post(client, "/v1/jobs/requeue", {"filter": {"queue": "a"}}, status=202)
    assert begun["matched"] == 0
