"""Answers for operators: why a queue stands still, the graph of a batch, a schedule run by hand, and tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue import Member, NewBatch, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.insight.audit import Actor, AuditQuery
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from tests.support.data.factories import add, claim, claimed_job, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def call(client: Client, method: str, path: str, status: int = 200, body: Any = None, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    answer = await client.request(method, path, json=body, headers=headers)
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None) if answer.content_type != "application/octet-stream" else None


async def token(runtime: Runtime, role: str = "read", **scope: Any) -> str:
    return (await runtime.access.create(roles=[role], by=ANN, **scope))[1]


async def test_a_queue_says_why_nothing_starts(client: Client, idle_runtime: Runtime) -> None:
    queues = idle_runtime.queues
    idle = await call(client, "GET", "/v1/queues/media/why")
    assert [reason["kind"] for reason in idle["reasons"]] == ["empty"]

    due = datetime.now(UTC) + timedelta(hours=1)
    await add(idle_runtime, queue="media", delay_til=due)
    idle = await call(client, "GET", "/v1/queues/media/why")
    assert idle["nextStartAt"][:16] == due.isoformat()[:16]

    await queues.patch("media", {"concurrency": 1})
    first = await add(idle_runtime, "thumb", queue="media")
    await claim(idle_runtime, queue="media")
    for kind in ("thumb", "thumb", "video"):
        await add(idle_runtime, kind, queue="media", meta={"user_id": 7})
    why = await call(client, "GET", "/v1/queues/media/why")
    by_kind = {reason["kind"]: reason for reason in why["reasons"]}
    assert by_kind["concurrency"]["types"] == ["thumb", "video"]
    assert [holder["id"] for holder in by_kind["concurrency"]["holders"]] == [first.id]
    assert "no-worker" in by_kind
    await queues.set_paused("media", paused=True)
    assert (await call(client, "GET", "/v1/queues/media/why"))["reasons"][0]["kind"] == "paused"

    limited = await token(idle_runtime, meta=[("user_id", 7)])
    await call(client, "GET", "/v1/queues/media/why", 403, token=limited)


async def test_a_group_of_failures_is_shown_whole_and_its_jobs_are_found(client: Client, idle_runtime: Runtime) -> None:
    for number in range(3):
        claimed = await claimed_job(idle_runtime, "import", queue=f"q{number % 2}", attempts=1)
        error = JobError(kind="KeyError", message=f"row {number}", trace=f"Traceback\n  row {number}")
        await fail(idle_runtime, claimed, error)
    other = await claimed_job(idle_runtime, "import", attempts=1)
    await fail(idle_runtime, other, JobError(kind="OSError", message="disk full"))
    [first, *_] = (await call(client, "GET", "/v1/failures"))["items"]
    path = f"/v1/failures/{first['fingerprint']}"
    group = await call(client, "GET", path)
    assert (group["count"], group["states"], group["queues"]) == (3, {"failed": 3}, ["q0", "q1"])
    assert (group["trace"], [job["message"] for job in group["jobs"]]) == (
        "Traceback\n  row 2",
        ["row 2", "row 1", "row 0"],
    )
    ids = [job["id"] for job in group["jobs"]]

    listed = await call(client, "GET", f"/v1/jobs?fingerprint={first['fingerprint']}&limit=2")
    rest = await call(client, "GET", f"/v1/jobs?fingerprint={first['fingerprint']}&cursor={listed['next']}")
    assert [job["id"] for job in listed["items"] + rest["items"]] == ids
    search = {"filter": {"fingerprint": first["fingerprint"], "state": "failed"}}
    found = await call(client, "POST", "/v1/jobs/search", body=search)
    assert [job["id"] for job in found["items"]] == ids
    await idle_runtime.manager.requeue(ids[0])
    assert len((await call(client, "GET", path))["jobs"]) == 2

    limited = await token(idle_runtime, queues=["q1"])
    assert [job["queue"] for job in (await call(client, "GET", path, token=limited))["jobs"]] == ["q1"]
    await call(client, "GET", path, 404, token=await token(idle_runtime, queues=["other"]))
    await call(client, "GET", "/v1/failures/0123456789abcdef", 404)
    await call(client, "GET", "/v1/failures/xyz", 422)
    await call(client, "GET", "/v1/jobs?fingerprint=xyz", 422)


async def test_a_group_of_failures_names_the_versions_that_ran_its_jobs(client: Client, idle_runtime: Runtime) -> None:
    for version in (None, "1.0", "2.0", "1.0"):
        await add(idle_runtime, "import", queue="q", attempts=1)
        claimed = await idle_runtime.work.claim("q", None, worker="w", version=version)
        assert claimed is not None
        await fail(idle_runtime, claimed)
    [group] = (await call(client, "GET", "/v1/failures"))["items"]
    shown = await call(client, "GET", f"/v1/failures/{group['fingerprint']}")
    assert shown["versions"] == ["1.0", "2.0"]
    entry = (await call(client, "GET", f"/v1/jobs/{shown['jobs'][1]['id']}"))["history"][0]
    assert (entry["version"], list(entry)[:4]) == ("2.0", ["attempt", "token", "worker", "version"])

    await add(idle_runtime, "import", queue="q")
    body = {"worker": "polls", "version": "3.0"}
    claimed = await call(client, "POST", "/v1/queues/q/claim", body=body)
    assert claimed["job"]["history"][-1]["version"] == "3.0"
    wrong = await call(client, "POST", "/v1/queues/q/claim", 422, body={"worker": "w", "version": ""})
    assert list(wrong["errors"]) == ["version"]


async def test_the_graph_of_a_batch(client: Client, idle_runtime: Runtime) -> None:
    members = [
        Member(job=NewJob(type="fetch", data={"secret": "s3"}), ref="fetch"),
        Member(job=NewJob(type="parse", queue="other"), after=["fetch"]),
    ]
    view, jobs = await idle_runtime.batches.create(NewBatch(members=members))
    graph = await call(client, "GET", f"/v1/batches/{view.batch.id}/graph")
    assert (graph["id"], graph["truncated"], "s3" in str(graph)) == (view.batch.id, False, False)
    assert [(node["id"], node["ref"], node["type"], node["state"], node["dependsOn"]) for node in graph["jobs"]] == [
        (jobs[0].id, "fetch", "fetch", "pending", []),
        (jobs[1].id, None, "parse", "delayed", [jobs[0].id]),
    ]
    short = await call(client, "GET", f"/v1/batches/{view.batch.id}/graph?fields=state,endAt")
    assert short["jobs"][0] == {"id": jobs[0].id, "state": "pending", "endAt": None}
    await call(client, "GET", f"/v1/batches/{view.batch.id}/graph?fields=data", 422)
    limited = await token(idle_runtime, queues=["other"])
    await call(client, "GET", f"/v1/batches/{view.batch.id}/graph", 404, token=limited)
    await call(client, "GET", f"/v1/batches/{'0' * 24}/graph", status=404)


async def test_a_schedule_is_run_by_hand(client: Client, idle_runtime: Runtime) -> None:
    job = NewJob(type="report", queue="media", key="one", data={"n": 1})
    await idle_runtime.schedules.put(Schedule(name="s", job=job, recurrence=Every(seconds=3600), paused=True))
    made = await call(client, "POST", "/v1/schedules/s/run", status=201)
    assert (made["type"], made["data"], made["schedule"], made["state"]) == ("report", {"n": 1}, "s", "pending")
    shown = await call(client, "GET", "/v1/schedules/s")
    assert ([run["id"] for run in shown["lastRuns"]], shown["paused"]) == ([made["id"]], True)
    clash = await call(client, "POST", "/v1/schedules/s/run", status=409)
    assert clash["jobId"] == made["id"]
    await call(client, "POST", "/v1/schedules/other/run", status=404)
    limited = await token(idle_runtime, "admin", queues=["other"])
    await call(client, "POST", "/v1/schedules/s/run", status=404, token=limited)
    by = await token(idle_runtime, "admin", name="ann")
    await idle_runtime.manager.kill(made["id"], "again")
    again = await call(client, "POST", "/v1/schedules/s/run", status=201, token=by)
    entries = await idle_runtime.audit.store.find(AuditQuery(kind="schedule", name="s", action="run"))
    assert entries[0].after == {"jobId": again["id"]}


async def test_tokens_are_made_listed_and_revoked(client: Client, idle_runtime: Runtime) -> None:
    new = {"roles": ["read"], "queues": ["media*"], "name": "app", "expires": 60}
    admin = await token(idle_runtime, "admin", name="boss")
    made = await call(client, "POST", "/v1/tokens", 201, new, admin)
    assert (made["roles"], made["queues"], made["meta"]) == (["read"], ["media*"], {})
    nested = {"roles": ["read"], "meta": {"user": {"id": 7}}}
    assert (await call(client, "POST", "/v1/tokens", 201, nested, admin))["meta"] == {"user.id": 7}
    assert made["token"].startswith(f"jq_{made['id']}_")
    await call(client, "GET", "/v1/queues", token=made["token"])
    page = await call(client, "GET", "/v1/tokens?limit=1", token=admin)
    rest = await call(client, "GET", f"/v1/tokens?cursor={page['next']}", token=admin)
    assert ([item["name"] for item in page["items"] + rest["items"]], rest["next"]) == (["", "app", "boss"], None)
    assert "token" not in page["items"][0]
    await call(client, "DELETE", f"/v1/tokens/{made['id']}", 204, token=admin)
    await call(client, "GET", "/v1/queues", 401, token=made["token"])
    await call(client, "DELETE", "/v1/tokens/abcd1234", 404, token=admin)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "roles"),
        ({"roles": []}, "roles"),
        ({"roles": ["boss"]}, "roles"),
        ({"roles": ["read"], "meta": {"a": [1]}}, "meta"),
        ({"roles": ["read"], "meta": {"a": {}}}, "meta"),
        ({"roles": ["read"], "queues": ["a b"]}, "queues"),
        ({"roles": ["read"], "expires": -1}, "expires"),
        ({"roles": ["read"], "expires": 1e300}, "expires"),
        ({"roles": ["read"], "name": "\x00"}, "name"),
        ({"roles": ["read"], "rolles": 1}, "rolles"),
    ],
)
async def test_a_token_that_cannot_be_is_refused(client: Client, body: dict[str, Any], path: str) -> None:
    refused = await call(client, "POST", "/v1/tokens", 422, body)
    assert [name.partition(".")[0] for name in refused["errors"]] == [path]


async def test_a_limited_administrator_makes_no_tokens(client: Client, idle_runtime: Runtime) -> None:
    limited = await token(idle_runtime, "admin", queues=["media"])
    await call(client, "POST", "/v1/tokens", 403, {"roles": ["admin"]}, limited)
    await call(client, "GET", "/v1/tokens", 403, token=limited)
    await call(client, "DELETE", "/v1/tokens/abcd1234", 403, token=limited)


async def test_each_caller_learns_what_needs_somebody_of_its_jobs(client: Client, idle_runtime: Runtime) -> None:
    for queue, user in (("media", 7), ("media", 8), ("mail", 7)):
        claimed = await claimed_job(idle_runtime, f"{queue}-{user}", queue=queue, attempts=1, meta={"user_id": user})
        await fail(idle_runtime, claimed, JobError(kind="KeyError", message="menge"))
    schedule = Schedule(name="nightly", recurrence=Every(seconds=3600), job=NewJob(type="import", queue="mail"))
    await idle_runtime.schedules.put(schedule, by=ANN)
    skipped = {"at": datetime.now(UTC) - timedelta(hours=1), "reason": "the one before was still there"}
    await idle_runtime.schedules.store.collection.update_one({"_id": "nightly"}, {"$set": {"lastSkipped": skipped}})

    waiting = await add(idle_runtime, queue="imports", meta={"user_id": 7})
    long_ago = waiting.insert_at - timedelta(hours=1)
    await idle_runtime.jobs.collection.update_one(
        {"queue": "imports"}, {"$set": {"insertAt": long_ago, "readyAt": long_ago}}
    )

    def kinds(found: Any) -> list[tuple[str, str]]:
        return sorted((item["kind"], item["message"].split(" failed")[0][:31]) for item in found["items"])

    everything = await call(client, "GET", "/v1/status")
    assert [kind for kind, _ in kinds(everything)] == ["failures"] * 3 + ["queue", "schedule"]
    assert everything["items"][0]["command"][:2] == ["failures", "show"]
    of_queue = await call(client, "GET", "/v1/status", token=await token(idle_runtime, queues=["media"]))
    assert [message[-7:] for _, message in kinds(of_queue)] == ["media-7", "media-8"]
    of_user = await call(client, "GET", "/v1/status", token=await token(idle_runtime, meta=[("user_id", 7)]))
    assert [message[-7:] for _, message in kinds(of_user)] == [" mail-7", "media-7"]
