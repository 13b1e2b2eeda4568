"""Types that workers serve: their schemas, workers with their jobs, and jobs that are refused where they are made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue import ActiveJob, InvalidInputError, Member, NewBatch, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import web

    from jobqueue import JobQueue
    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

GOOD, BAD = {"src": "a.png", "box": {"width": 3}}, {"srcc": "a.png", "box": {"width": "3"}}
MISTAKES = {
    "data.src": ["is required"],
    "data.srcc": ["is not a known argument"],
    "data.box.width": ["must be of type integer"],
}


class Shade(Enum):
    DARK = "dark"
    LIGHT = "light"


@dataclass
class Box:
    width: int
    shade: Shade = Shade.DARK


@pytest.fixture
async def serving(queue: JobQueue) -> AsyncIterator[JobQueue]:
    """Give a queue whose worker serves a task, a handler, and a task that upgrades."""

    @queue.task("shrink", queue="media", aliases=["thumb"])
    async def shrink(job: ActiveJob, src: str, box: Box, *, deep: bool = False) -> int:
        await job.step("looked", lambda: deep)
        while src == "hold":  # noqa: ASYNC110 - it is killed
            await asyncio.sleep(0.01)
        return box.width

    @queue.task("old", queue="media", upgrade=lambda data: data)
    def old(n: int) -> int:
        return n

    @queue.handler("plain", queue="media")
    def plain(job: Any) -> None:
        del job

    async with queue.working():
        yield queue


@pytest.fixture
async def client(serving: JobQueue) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(await serving.open()))) as client:
        yield client


async def served(client: Client) -> dict[str, Any]:
    async def types() -> list[dict[str, Any]]:
        answer = await client.get("/v1/types?queue=media&limit=3")
        page = await answer.json()
        rest = await client.get(f"/v1/types?queue=media&cursor={page['next']}") if page["next"] else None
        items = [*page["items"], *((await rest.json())["items"] if rest is not None else ())]
        return items if len(items) == 4 else []

    return {item["type"]: item for item in await eventually(types)}


async def test_workers_publish_the_schemas_of_their_tasks(client: Client) -> None:
    types = await served(client)
    assert {name: (item["workers"], item["processor"]) for name, item in types.items()} == dict.fromkeys(
        ("shrink", "thumb", "old", "plain"), (1, None)
    )
    schema = types["shrink"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["src", "box"], False)
    assert schema["properties"]["deep"] == {"type": "boolean", "default": False}
    assert schema["$defs"]["Shade"]["enum"] == ["dark", "light"]
    assert types["thumb"]["schema"] == schema
    assert types["plain"]["schema"] is None
    assert len(types["old"]["schema"]["anyOf"]) == 2
    assert (await client.get("/v1/types?cursor=nonsense!")).status == 422


async def test_any_data_passes_where_a_processor_serves_the_rest(serving: JobQueue, client: Client) -> None:
    await served(client)
    await serving.configure("media", check=True)
    with pytest.raises(InvalidInputError):
        await serving.add("shrink", BAD, queue="media", delay=3600)
    webhook = {"kind": "webhook", "url": "http://127.0.0.1:9/hook"}
    await serving.configure("media", processors={"*": webhook})

    async def is_open() -> bool:
        return any(one.type == "shrink" and one.is_open for one in await serving.types())

    await eventually(is_open)


async def test_workers_are_listed_with_what_they_run(client: Client, serving: JobQueue) -> None:
    runtime = await serving.open()
    job = await serving.add("shrink", GOOD | {"src": "hold"}, queue="media", meta={"user_id": 42})

    async def look(headers: Any = None) -> Any:
        answer = await client.get("/v1/workers", headers=headers)
        assert answer.status == 200, await answer.text()
        return (await answer.json())["items"]

    async def running() -> Any:
        return [worker for worker in await look() if worker["running"]]

    [worker] = await eventually(running)
    assert (worker["name"], worker["alive"], worker["host"], worker["pid"]) == (runtime.name, True, *place(runtime))
    assert worker["since"] <= worker["lastSignAt"]
    assert worker["queues"] == [{"queue": "media", "types": ["old", "plain", "shrink", "thumb"], "excluded": []}]
    [runs] = worker["running"]
    assert (runs["id"], runs["queue"], runs["type"]) == (job.id, "media", "shrink")

    scopes: tuple[tuple[dict[str, Any], int | None], ...] = (
        ({"queues": ["media"]}, 1),
        ({"queues": ["other"]}, None),
        ({"meta": [("user_id", 42)]}, 1),
        ({"meta": [("user_id", 7)]}, None),
    )
    for scope, count in scopes:
        _, token = await runtime.access.create(roles=["read"], by=Actor(name="ann", via="cli"), **scope)
        seen = await look({"Authorization": f"Bearer {token}"})
        assert (len(seen[0]["running"]) if seen else None) == count
    await serving.kill(job.id)
    await runtime.registry.leave()


def place(runtime: Runtime) -> tuple[str, int]:
    host, pid, _ = runtime.name.rsplit(":", 2)
    return host, int(pid)


def additions(queue: JobQueue, data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each way to make a job, and the path of the job in the messages."""
    new = NewJob(type="shrink", queue="media", data=data)
    yield "", queue.add_job(new)
    yield "jobs.0.", queue.add_all([new])
    yield "jobs.0.", queue.add_batch(NewBatch(members=[Member(job=new)]))


async def test_a_job_that_no_worker_takes_is_refused_where_it_is_made(client: Client, serving: JobQueue) -> None:
    runtime = await serving.open()
    await served(client)
    for _, addition in additions(serving, BAD):
        await addition
    await runtime.queues.patch("media", {"check": True})
    for path, addition in additions(serving, BAD):
        with pytest.raises(InvalidInputError) as refused:
            await addition
        assert refused.value.problems == {f"{path}{name}": told for name, told in MISTAKES.items()}
    for _, addition in additions(serving, GOOD):
        await addition
    schedule = Schedule(name="s", job=NewJob(type="thumb", queue="media", data=BAD), recurrence=Every(seconds=60))
    with pytest.raises(InvalidInputError, match=r"job\.data\.src: is required"):
        await runtime.schedules.put(schedule)
    job = await serving.add("shrink", GOOD, queue="media", delay=3600)
    with pytest.raises(InvalidInputError, match=r"data\.src: is required"):
        await serving.patch(job.id, data=BAD)
    with pytest.raises(InvalidInputError, match=r"data\.src: is required"):
        await serving.requeue(job.id, data=BAD)
    answer = await client.post("/v1/jobs", json={"type": "shrink", "queue": "media", "data": BAD})
    assert (answer.status, (await answer.json())["errors"]) == (422, MISTAKES)
    # Nobody says what these take.
    for kind in ("plain", "old", "unknown"):
        await serving.add(kind, BAD, queue="media")


async def test_any_data_passes_without_a_living_worker(queue: JobQueue) -> None:
    runtime = await queue.open()

    @queue.task("shrink", queue="media")
    async def shrink(src: str) -> None:
        del src

    await runtime.queues.patch("media", {"check": True})
    await queue.add("shrink", BAD, queue="media")
