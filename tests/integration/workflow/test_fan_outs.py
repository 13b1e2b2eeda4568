"""Fan-outs that are repeated: each part once, whoever asks again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import ConflictError, InvalidInputError
from tests.support.data.factories import claim, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]


def step(ref: str | None, *after: str, blocks: tuple[str, ...] = (), **fields: Any) -> Member:
    return Member(job=NewJob(type=ref or "x", **fields), ref=ref, after=after, blocks=blocks)


async def create(runtime: Runtime, *members: Member, **fields: Any) -> dict[str, str]:
    view, added = await runtime.batches.create(NewBatch(members=members, **fields))
    return {"batch": view.batch.id} | {one.ref: one.id for one in added if one.ref}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def total(runtime: Runtime) -> int:
    return int(await runtime.jobs.collection.count_documents({"state": {"$exists": True}}))


async def test_a_handler_that_fails_half_way_adds_each_part_once(queue: JobQueue) -> None:
    @queue.handler("fetch")
    async def fetch(job: Any) -> None:
        for part in range(10):
            await job.add("part", {"n": part}, ref=f"part{part}", blocks=["report"])
            if part == 5 and job.attempt == 1:
                raise RuntimeError("half-way")

    @queue.handler("part")
    async def part(job: Any) -> int:
        return int(job.data["n"]) ** 2

    @queue.handler("report")
    async def report(job: Any) -> int:
        return sum(result for ref, result in job.results.items() if ref.startswith("part"))

    members = [step("fetch", backoff=0.05), step("report", "fetch")]
    async with queue.working():
        batch, added = await queue.add_batch(NewBatch(members=members))

        async def has_ended() -> bool:
            return (await queue.get(added[1].id)).state in FINAL

        await eventually(has_ended, within=60)
    job = await queue.get(added[1].id)
    assert (job.state, job.result) == (State.SUCCESS, 285), job.error
    assert sum((await queue.batch(batch.batch.id)).counts.values()) == 12


async def test_the_same_refs_are_the_same_jobs_over_http(client: Client, idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("join", "fan"), step("fan"), sealed=False)
    path = f"/v1/batches/{ids['batch']}/jobs"
    parts = [{"type": "part", "ref": f"part{place}", "blocks": ["join"]} for place in range(3)]
    first = await client.post(path, json={"jobs": parts[:2]})
    again = await client.post(path, json={"jobs": parts})
    third = await client.post(path, json={"jobs": parts})
    assert [first.status, again.status, third.status] == [201, 201, 200]
    made, more, same = [(await answer.json())["jobs"] for answer in (first, again, third)]
    assert more[:2] == made
    assert same == more
    assert await total(idle_runtime) == 5
    await idle_runtime.batches.seal(ids["batch"])
    # Nothing is left to be added, so the batch need not take jobs any more.
    late = await client.post(path, json={"jobs": parts})
    assert (late.status, (await late.json())["jobs"]) == (200, more)
    refused = await client.post(path, json={"jobs": [*parts, {"type": "part", "ref": "part9"}]})
    assert refused.status == 409
    job = await idle_runtime.jobs.get(ids["join"])
    assert set(job.waits_for) == {ids["fan"], *(one["id"] for one in more)}


async def test_a_repetition_under_an_idempotency_key_names_the_same_jobs(client: Client, idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("old"), sealed=False)
    path, headers = f"/v1/batches/{ids['batch']}/jobs", {"Idempotency-Key": "k1"}
    body = {"jobs": [{"type": "x", "ref": "old"}, {"type": "x"}, {"type": "x", "ref": "new"}]}
    answers = [await client.post(path, json=body, headers=headers) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]
    first, again = [(await answer.json())["jobs"] for answer in answers]
    assert first == again
    assert first[0]["id"] == ids["old"]
    assert await total(idle_runtime) == 3


async def test_of_many_who_add_the_same_parts_at_once_each_gets_the_same_jobs(
    idle_runtime: Runtime, settings: Settings
) -> None:
    ids = await create(idle_runtime, step("join", "fan"), step("fan"), sealed=False)
    parts = [step(f"part{place}", blocks=("join",)) for place in range(5)]
    async with open_runtime(settings) as other:
        found = await asyncio.gather(
            *(runtime.batches.add(ids["batch"], parts) for runtime in (idle_runtime, other) for _ in range(4))
        )
    assert len({tuple(one.id for one in added) for added in found}) == 1
    assert await total(idle_runtime) == 7


async def test_what_cannot_be_blocked_is_named(client: Client, idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("done"), step("there"), sealed=False)
    await succeed(idle_runtime, await claim(idle_runtime))
    jobs = [{"type": "x", "ref": "there"}, {"type": "x", "blocks": ["nobody"]}]
    answer = await client.post(f"/v1/batches/{ids['batch']}/jobs", json={"jobs": jobs})
    errors = (await answer.json())["errors"]
    assert errors == {"jobs.1.blocks.0": ["'nobody' is neither a ref of this batch nor an id"]}
    with pytest.raises(ConflictError, match="job done "):
        await idle_runtime.batches.add(ids["batch"], [step("new", blocks=("done",))])
    with pytest.raises(InvalidInputError, match=r"jobs\.1\.dependsOn\.0: 'lost' is neither a ref"):
        await idle_runtime.batches.add(ids["batch"], [step("there"), step("new", "lost")])
    with pytest.raises(InvalidInputError, match=r"jobs\.1\.ref: 'there' is the ref of another job of this request"):
        await idle_runtime.batches.add(ids["batch"], [step("there"), step("there")])
