"""`If-Match` and `If-None-Match` on everything that has an `ETag`; of writers that race, exactly one wins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.api.app import make_app
from jobqueue.api.route_table import ROUTES
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from tests.support.data.factories import add, claimed_job, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

WRITERS = 6
STALE = '"0000"'
ALERT = {"url": "https://example.com/"}
SCHEDULE = {"every": 3600, "job": {"type": "t"}}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def send(client: Client, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str, Any]:
    """Return the status, the tag and the body of an answer; ``If_Match`` is the header ``If-Match``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, json=body, headers=named) as answer:
        given = await answer.json(content_type=None) if answer.content_length else None
        return answer.status, answer.headers.get("ETag", ""), given


async def tag_of(client: Client, path: str) -> str:
    return (await send(client, "GET", path))[1]


async def subject(client: Client, runtime: Runtime, path: str) -> str:
    """Make what a route is about; return its path."""
    if path.startswith("/v1/queues/"):
        hook = {"kind": "webhook", "url": "https://example.com/"}
        await send(client, "PUT", "/v1/queues/q", {"concurrency": 3, "processors": {"t": hook}})
        return "/v1/queues/q"
    if path.startswith("/v1/schedules/"):
        await send(client, "PUT", "/v1/schedules/s", SCHEDULE)
        return "/v1/schedules/s"
    if path.startswith("/v1/alerts/"):
        await send(client, "PUT", "/v1/alerts/a", ALERT)
        return "/v1/alerts/a"
    if path.endswith("/requeue"):
        claimed = await claimed_job(runtime, attempts=1)
        return f"/v1/jobs/{(await fail(runtime, claimed)).id}"
    return f"/v1/jobs/{(await add(runtime)).id}"


BODIES: dict[tuple[str, str], Any] = {
    ("PUT", "/v1/queues/{queue}"): {"concurrency": 5},
    ("PATCH", "/v1/queues/{queue}"): {"concurrency": 6},
    ("POST", "/v1/queues/{queue}/rotate-secret"): {"type": "t"},
    ("PUT", "/v1/schedules/{name}"): SCHEDULE | {"every": 60},
    ("PUT", "/v1/alerts/{name}"): ALERT | {"stuckSeconds": 60},
    ("POST", "/v1/alerts/{name}/mute"): {"seconds": 60},
    ("PATCH", "/v1/jobs/{id}"): {"priority": 5},
}
TAGGED = [route for route in ROUTES if route.has_etag]
CHANGING = [(route.method, route.path) for route in TAGGED if route.method != "GET"]


def test_every_kind_of_thing_with_a_tag_is_tried() -> None:
    assert {path.split("/")[2] for _, path in CHANGING} == {"jobs", "queues", "schedules", "alerts"}
    assert len(CHANGING) == 17


@pytest.mark.parametrize(("method", "path"), CHANGING)
async def test_a_change_is_made_only_to_what_was_seen(
    client: Client, idle_runtime: Runtime, method: str, path: str
) -> None:
    target = await subject(client, idle_runtime, path)
    url = target + path.partition("}")[2]
    body = BODIES.get((method, path))
    before = await send(client, "GET", target)
    tag = before[1]
    for headers in (
        {"If_Match": STALE},
        {"If_Match": f"W/{tag}"},
        {"If_None_Match": "*"},
        {"If_None_Match": f'"x", W/{tag}'},
        {"If_Match": tag, "If_None_Match": tag},
    ):
        status, _, problem = await send(client, method, url, body, **headers)
        assert (headers, status, problem["type"]) == (headers, 412, "/problems/changed-meanwhile")
    for name in ("If_Match", "If_None_Match"):
        status, _, problem = await send(client, method, url, body, **{name: "broken"})
        assert (status, name.replace("_", "-") in problem["detail"]) == (400, True)
    assert await send(client, "GET", target) == before
    status, made, _ = await send(client, method, url, body, If_Match=f"{STALE}, {tag}", If_None_Match=STALE)
    assert status in {200, 204}
    if method != "DELETE":
        now = await tag_of(client, target)
        assert made == now
        assert now != tag or path.endswith("/resume")


@pytest.mark.parametrize("path", ["/v1/jobs/", "/v1/queues/", "/v1/schedules/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_the_caller_has_already_is_not_sent_again(
    client: Client, idle_runtime: Runtime, path: str, method: str
) -> None:
    target = await subject(client, idle_runtime, path)
    tag = await tag_of(client, target)
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        assert (await send(client, method, target, If_None_Match=known))[:2] == (304, tag)
    assert (await send(client, method, target, If_None_Match=STALE))[:2] == (200, tag)
    assert (await send(client, method, target, If_Match=tag))[:2] == (200, tag)
    assert (await send(client, method, target, If_Match="*"))[:2] == (200, tag)
    assert (await send(client, method, target, If_Match=STALE))[0] == 412
    assert (await send(client, method, target, If_None_Match="x"))[0] == 400


async def test_only_what_is_not_there_yet_is_put(client: Client) -> None:
    for path, body in (("/v1/queues/q", {"concurrency": 1}), ("/v1/schedules/s", SCHEDULE)):
        assert (await send(client, "PUT", path, body, If_Match="*"))[0] == 412
        assert (await send(client, "PUT", path, body, If_None_Match="*"))[0] in {200, 201}
        assert (await send(client, "PUT", path, body, If_None_Match="*"))[0] == 412
        assert (await send(client, "PUT", path, body, If_Match="*"))[0] == 200


async def test_what_is_not_there_is_not_found_whatever_the_condition(client: Client) -> None:
    absent = f"/v1/jobs/{ObjectId()}"
    for method, path, body in (
        ("GET", absent, None),
        ("PATCH", absent, {"priority": 1}),
        ("POST", f"{absent}/kill", None),
        ("DELETE", "/v1/queues/none", None),
        ("POST", "/v1/schedules/none/pause", None),
    ):
        assert (await send(client, method, path, body, If_Match=STALE))[0] == 404


async def test_the_tag_of_a_job_is_another_after_every_change(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    path = f"/v1/jobs/{claimed.job.id}"
    tags = [await tag_of(client, path)]
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("a line", None)])
    tags.append(await tag_of(client, path))
    await idle_runtime.work.report(claimed.job, claimed.token, progress=5)
    tags.append(await tag_of(client, path))
    await succeed(idle_runtime, claimed)
    tags.append(await tag_of(client, path))
    for body in ({"data": {"n": 1}}, {"meta": {"n": 1}}, {"timeout": 5}, {"backoff": 5}, {"attempts": 7}):
        await send(client, "PATCH", path, body)
        tags.append(await tag_of(client, path))
    assert len(set(tags)) == len(tags)
    assert await tag_of(client, path) == tags[-1]


async def race(client: Client, method: str, path: str, bodies: list[Any], tag: str) -> list[int]:
    answers = await asyncio.gather(*(send(client, method, path, body, If_Match=tag) for body in bodies))
    return sorted(status for status, _, _ in answers)


WON = [200] + [412] * (WRITERS - 1)


async def test_of_writers_who_saw_the_same_job_one_wins(client: Client, idle_runtime: Runtime) -> None:
    for _ in range(5):
        path = f"/v1/jobs/{(await add(idle_runtime)).id}"
        bodies = [{"data": {"writer": writer}} for writer in range(WRITERS)]
        assert await race(client, "PATCH", path, bodies, await tag_of(client, path)) == WON


async def test_of_persons_who_end_the_same_running_job_one_wins(client: Client, idle_runtime: Runtime) -> None:
    for _ in range(5):
        claimed = await claimed_job(idle_runtime)
        path = f"/v1/jobs/{claimed.job.id}"
        bodies = [{"reason": str(writer)} for writer in range(WRITERS)]
        assert await race(client, "POST", f"{path}/kill", bodies, await tag_of(client, path)) == WON


async def test_of_persons_who_requeue_or_patch_the_same_job_one_wins(client: Client, idle_runtime: Runtime) -> None:
    for _ in range(5):
        failed = await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1, queue="r"))
        path = f"/v1/jobs/{failed.id}"
        tag = await tag_of(client, path)
        answers = await asyncio.gather(
            *(send(client, "POST", f"{path}/requeue", {"priority": one}, If_Match=tag) for one in range(1, 4)),
            *(send(client, "PATCH", path, {"priority": one}, If_Match=tag) for one in range(1, 4)),
        )
        assert sorted(status for status, _, _ in answers) == WON
        await send(client, "POST", f"{path}/kill")


async def test_a_job_that_was_changed_since_is_not_deleted(client: Client, idle_runtime: Runtime) -> None:
    for _ in range(5):
        path = f"/v1/jobs/{(await add(idle_runtime)).id}"
        tag = await tag_of(client, path)
        answers = await asyncio.gather(
            send(client, "DELETE", path, If_Match=tag), send(client, "PATCH", path, {"priority": 3}, If_Match=tag)
        )
        assert sorted(status for status, _, _ in answers) in ([200, 412], [204, 404], [204, 412])
        assert (await send(client, "GET", path))[0] == (404 if answers[0][0] == 204 else 200)


async def test_of_writers_who_saw_the_same_queue_or_schedule_one_wins(client: Client) -> None:
    await send(client, "PUT", "/v1/queues/q", {"concurrency": 99})
    await send(client, "PUT", "/v1/schedules/s", SCHEDULE)
    for path, bodies in (
        ("/v1/queues/q", [{"concurrency": one + 1} for one in range(WRITERS)]),
        ("/v1/schedules/s", [SCHEDULE | {"every": 60 + one} for one in range(WRITERS)]),
    ):
        assert await race(client, "PUT", path, bodies, await tag_of(client, path)) == WON
    created = [{"concurrency": one + 1} for one in range(WRITERS)]
    answers = await asyncio.gather(
        *(send(client, "PUT", "/v1/queues/new", body, If_None_Match="*") for body in created)
    )
    assert sorted(status for status, _, _ in answers) == WON


async def test_a_refused_change_leaves_nothing_in_the_audit(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    for method, path in (("PATCH", ""), ("DELETE", ""), ("POST", "/kill")):
        await send(
            client, method, f"/v1/jobs/{job.id}{path}", {"priority": 1} if method == "PATCH" else None, If_Match=STALE
        )
    assert await idle_runtime.database.collection("audit").count_documents({}) == 0
    assert (await idle_runtime.listing.page(JobQuery())).items[0].state == "pending"


async def test_what_has_no_tag_takes_no_condition_on_it(client: Client, idle_runtime: Runtime) -> None:
    _, _, batch = await send(client, "POST", "/v1/batches", {"sealed": False, "jobs": [{"type": "t"}]})
    path = f"/v1/batches/{batch['id']}/seal"
    assert (await send(client, "POST", path, If_Match=STALE))[0] == 412
    assert (await send(client, "POST", path, If_None_Match="*"))[0] == 412
    assert (await send(client, "POST", path, If_Match="broken"))[0] == 400
    assert (await send(client, "POST", path, If_Match="*"))[0] == 200
    assert (await idle_runtime.batches.get(batch["id"])).batch.sealed


async def test_a_job_with_others_that_wait_for_it_is_deleted_under_a_condition(
    client: Client, idle_runtime: Runtime
) -> None:
    first = await add(idle_runtime)
    second = await idle_runtime.producer.add(NewJob(type="t", depends_on=(first.id,)))
    path = f"/v1/jobs/{first.id}"
    assert (await send(client, "DELETE", path, If_Match=STALE))[0] == 412
    assert (await idle_runtime.jobs.get(second.id)).state == "delayed"
    assert (await send(client, "DELETE", path, If_Match=await tag_of(client, path)))[0] == 204
    assert (await idle_runtime.jobs.get(second.id)).state == "killed"


@pytest.mark.parametrize("kind", ["application/merge-patch+json", "application/json", "application/Merge-Patch+JSON"])
async def test_a_queue_is_changed_by_a_merge_patch(client: Client, kind: str) -> None:
    await send(client, "PUT", "/v1/queues/q", {"concurrency": 3, "attempts": 7})
    async with client.patch("/v1/queues/q", data=b'{"concurrency": null}', headers={"Content-Type": kind}) as answer:
        shown = await answer.json()
        assert (answer.status, shown["concurrency"], shown["attempts"]) == (200, None, 7)
    async with client.put("/v1/queues/q", data=b"{}", headers={"Content-Type": "application/merge-patch+json"}) as put:
        assert put.status == 415
