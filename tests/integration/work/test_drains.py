"""Drains of workers: what stops, what goes on, who may ask for it, and what undoes it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue import AsyncClient, JobQueue
from jobqueue.api.app import make_app
from jobqueue.api.work.long_poll import LONG_POLL
from jobqueue.domain.errors import ConflictError, NotFoundError
from jobqueue.domain.insight.audit import Actor
from jobqueue.services import application
from jobqueue.services.application import Runtime
from jobqueue.services.work import worker_registry
from jobqueue.services.work.lanes import Lane
from tests.support.data.factories import add, claim
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue import ActiveJob
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="http")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def poll(client: Client, worker: str, **body: Any) -> int:
    reply = await client.post("/v1/queues/files/claim", json={"worker": worker, **body})
    return reply.status


async def test_a_worker_that_polls_is_told_and_another_one_is_not(client: Client, idle_runtime: Runtime) -> None:
    registry = idle_runtime.registry
    assert [await poll(client, name) for name in ("w1", "w2")] == [204, 204]
    await registry.run_once()
    assert (await client.post("/v1/workers/w3/drain")).status == 404
    reply = await client.post("/v1/workers/w1/drain")
    shown = await reply.json()
    assert (reply.status, shown["draining"]["by"], shown["alive"]) == (200, "nobody", True)
    again = await (await client.post("/v1/workers/w1/drain")).json()
    assert again["draining"] == shown["draining"], "again changes nothing"
    waiting = asyncio.create_task(poll(client, "w1", wait=60))
    await eventually(lambda: _waits(client))
    await registry.run_once()
    assert await waiting == 410, "a claim that waits ends"
    refused = await client.post("/v1/queues/files/claim", json={"worker": "w1"})
    problem = await refused.json()
    assert (refused.status, problem["type"], problem["name"]) == (410, "/problems/worker-drained", "w1")
    assert await poll(client, "w2") == 204
    await registry.run_once()
    workers = {worker["name"]: worker for worker in (await (await client.get("/v1/workers")).json())["items"]}
    assert (workers["w1"]["queues"], workers["w2"]["draining"]) == ([], None)
    # It is told as long as it asks; one that comes half a minute after that is another one.
    assert await poll(client, "w1") == 410
    await registry.run_once()
    collection = idle_runtime.database.collection("workers")
    stored = await collection.find_one({"_id": "w1"})
    assert stored is not None
    await collection.update_one({"_id": "w1"}, {"$set": {"drain.toldAt": stored["at"] - timedelta(seconds=31)}})
    await registry.run_once()
    assert await poll(client, "w1") == 204
    await registry.run_once()
    assert (await (await client.get("/v1/workers/w1")).json())["draining"] is None


async def test_a_worker_that_has_not_asked_for_long_is_told_by_any_process(
    client: Client, idle_runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = idle_runtime.registry
    assert await poll(client, "w1") == 204
    await registry.run_once()
    # Its job takes longer than a server remembers who has asked.
    monkeypatch.setattr(worker_registry, "_REMEMBERED_SECONDS", 0)
    await registry.run_once()
    await client.post("/v1/workers/w1/drain")
    await registry.run_once()
    other = await Runtime.open(settings)
    try:
        async with TestClient(TestServer(make_app(other))) as server:
            assert [await poll(each, "w1") for each in (server, client)] == [410, 410]
            await registry.run_once()
            await registry.run_once()
            assert [await poll(each, "w1", wait=60) for each in (server, client)] == [410, 410]
            # Half a minute later a worker of this name is another one.
            for each in (other.registry, registry, other.registry, registry):
                await each.run_once()
            workers = idle_runtime.database.collection("workers")
            late = {"$dateSubtract": {"startDate": "$$NOW", "unit": "second", "amount": 31}}
            await workers.update_one({"_id": "w1"}, [{"$set": {"drain.toldAt": late}}])
            assert [await poll(each, "w1") for each in (server, client)] == [204, 204]
    finally:
        await other.close()


async def _waits(client: Client) -> bool:
    assert client.app is not None
    return client.app[LONG_POLL].waiting == 1


class Working:
    """A program with a `JobQueue` whose jobs end when told, and the services of another process."""

    def __init__(self, settings: Settings) -> None:
        self.queue = JobQueue(settings)
        self.started: list[str] = []
        self.go_on = asyncio.Event()

        @self.queue.handler("wait", queue="files")
        async def wait(job: ActiveJob) -> str:
            self.started.append(job.id)
            await self.go_on.wait()
            return "done"

    async def name(self) -> str:
        """Return the name of the worker, once others see it."""
        name = (await self.queue.open()).name
        await eventually(lambda: self._is_signed(name))
        return name

    async def _is_signed(self, name: str) -> bool:
        return any(worker.name == name for worker in await self.queue.workers())


@pytest.fixture
async def working(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Working]:
    monkeypatch.setattr(application, "SIGN_SECONDS", 0.1)
    made = Working(replace(settings, drain_timeout=60))
    yield made
    await made.queue.close()


async def test_a_drained_program_finishes_its_jobs_and_goes_on(working: Working, idle_runtime: Runtime) -> None:
    queue = working.queue
    async with queue.working(concurrency=2) as worker:
        first = await queue.add("wait", queue="files")
        name = await working.name()
        await eventually(lambda: working.started == [first.id])
        seen = await idle_runtime.drains.drain(name, by=ANN)
        assert seen.draining is not None
        assert (seen.draining.by, [job.id for job in seen.running]) == ("ann", [first.id])
        await eventually(lambda: not worker.is_running)
        second = await queue.add("wait", queue="files")
        # Undone while it still runs a job: it claims again, and is drained again.
        assert (await queue.drain_worker(name, undo=True)).draining is None
        await eventually(lambda: working.started == [first.id, second.id])
        await queue.drain_worker(name)
        await eventually(lambda: not worker.is_running)
        third = await queue.add("wait", queue="files")
        working.go_on.set()
        await worker.left()
        await eventually(lambda: _is_gone(queue, name))
        with pytest.raises(NotFoundError):
            await queue.drain_worker(name, undo=True)
    assert [str((await queue.get(job.id)).state) for job in (first, second, third)] == ["success", "success", "pending"]
    # A new block works again.
    async with queue.working():
        assert (await queue.wait(third.id, 30)).state == "success"
    entries = idle_runtime.database.collection("audit").find({"target": {"kind": "worker", "name": name}})
    assert [entry["action"] async for entry in entries] == ["drain", "undrain", "drain"]


async def test_a_block_that_begins_during_a_drain_claims_nothing(working: Working, idle_runtime: Runtime) -> None:
    queue = working.queue
    async with queue.working(concurrency=1):
        first = await queue.add("wait", queue="files")
        name = await working.name()
        await eventually(lambda: working.started == [first.id])
        await idle_runtime.drains.drain(name, by=ANN)
        registry = (await queue.open()).registry
        await eventually(lambda: not registry._held[0][1].is_running)
        async with queue.working() as late:
            assert not late.is_running
            second = await queue.add("wait", queue="files")
            working.go_on.set()
            await late.left()
        await eventually(lambda: _is_gone(queue, name))
    assert [str((await queue.get(job.id)).state) for job in (first, second)] == ["success", "pending"]
    async with queue.working():
        assert (await queue.wait(second.id, 30)).state == "success"
    assert len(registry._held) == 1, "blocks that are over are forgotten"


async def test_an_undo_that_somebody_drains_after_is_no_conflict(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle_runtime.registry.heard("w1", "files", None)
    await idle_runtime.registry.run_once()
    drains, store = idle_runtime.drains, idle_runtime.registry._store.drains
    await drains.drain("w1", by=ANN)
    undo = store.undo

    async def undone_and_drained(name: str) -> bool:
        undone = await undo(name)
        await store.begin(name, "bob")
        return undone

    monkeypatch.setattr(drains._store, "undo", undone_and_drained)
    seen = await drains.undo("w1", by=ANN)
    assert seen.draining is not None
    assert seen.draining.by == "bob"


async def test_drains_that_another_tool_has_spoilt_are_none(idle_runtime: Runtime) -> None:
    workers = idle_runtime.database.collection("workers")
    idle_runtime.registry.heard("w1", "files", None)
    await idle_runtime.registry.run_once()
    for spoilt in (None, "x", 7, [], [{"id": "1"}], {}, {"leaving": True}, {"id": 7, "leaving": True}):
        await workers.update_one({"_id": "w1"}, {"$set": {"drain": spoilt}})
        await idle_runtime.registry.run_once()
        assert (await idle_runtime.drains.undo("w1", by=ANN)).draining is None
        drained = await idle_runtime.drains.drain("w1", by=ANN)
        assert drained.draining is not None, spoilt
        assert (drained.draining.by, drained.draining.queues) == ("ann", ("files",))
        assert (await idle_runtime.drains.undo("w1", by=ANN)).draining is None, spoilt
    now = await idle_runtime.database.clock.now()
    for told, seen in (
        ("x", {"w1"}),
        (now, {"w1"}),
        (now - timedelta(hours=1), set()),
        (now + timedelta(hours=1), set()),
    ):
        # The clock of the server may be set back.
        await workers.update_one({"_id": "w1"}, {"$set": {"drain": {"id": "1", "toldAt": told}}})
        assert set(await idle_runtime.registry._store.drains.of(["w1"])) == seen, told


async def test_a_process_that_serves_nothing_any_more_is_no_worker(idle_runtime: Runtime) -> None:
    lanes = [Lane(queue="q", types=None, processor=Mock())]
    dispatcher, registry = idle_runtime.dispatcher(lambda: lanes), idle_runtime.registry
    workers = idle_runtime.database.collection("workers")
    task = asyncio.create_task(dispatcher.run())
    await eventually(lambda: dispatcher.is_running)
    lane = lanes.pop()
    for lanes[:], seen in (([lane], 1), ([], 0), ([lane], 1)):
        await registry.run_once()
        assert await workers.count_documents({}) == seen
    # One that is drained stays until it leaves.
    await idle_runtime.drains.drain(idle_runtime.name, by=ANN)
    lanes.clear()
    await registry.run_once()
    assert await workers.count_documents({"drain.by": "ann"}) == 1
    await dispatcher.left()
    await registry.run_once()
    assert await workers.count_documents({}) == 0
    await task


async def test_what_outlasts_the_grace_goes_back_uncounted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, idle_runtime: Runtime
) -> None:
    monkeypatch.setattr(application, "SIGN_SECONDS", 0.1)
    working = Working(replace(settings, drain_timeout=0.2))
    async with working.queue as queue, queue.working() as worker:
        job = await queue.add("wait", queue="files")
        await eventually(lambda: working.started == [job.id])
        await idle_runtime.drains.drain(await working.name(), by=ANN)
        await worker.left()
        await eventually(lambda: _is_back(queue, job.id))
        back = await queue.get(job.id)
        assert (back.attempts_made, [str(start.outcome) for start in back.history]) == (0, ["release"])


async def test_a_worker_over_http_ends_by_itself(client: Client, idle_runtime: Runtime) -> None:
    async with AsyncClient(str(client.make_url(""))) as calls:
        worker, ended = calls.worker("files", name="w1", poll=60), asyncio.Event()

        @worker.handler("wait")
        async def wait(_: ActiveJob) -> str:
            await ended.wait()
            return "done"

        job = await calls.add("wait", queue="files")
        task = asyncio.create_task(worker.work())
        await eventually(lambda: _runs(calls, job.id))
        await idle_runtime.registry.run_once()
        assert (await calls.drain_worker("w1")).draining is not None
        await idle_runtime.registry.run_once()
        other = await calls.add("wait", queue="files")
        ended.set()
        await task
        assert [str((await calls.get(each.id)).state) for each in (job, other)] == ["success", "pending"]
        assert (await calls.drain_worker("w1", undo=True)).draining is None


async def test_who_may_drain_which_worker(idle_runtime: Runtime, client: Client) -> None:
    access, workers = idle_runtime.access, idle_runtime.database.collection("workers")
    for name, queues in (("own", ["files"]), ("both", ["files", "mail"]), ("theirs", ["mail"])):
        for queue in queues:
            idle_runtime.registry.heard(name, queue, None)
    await idle_runtime.registry.run_once()
    _, limited = await access.create(roles=["admin"], queues=["files"], by=ANN)
    _, of_one = await access.create(roles=["admin"], meta=[("user_id", 7)], by=ANN)
    _, reader = await access.create(roles=["read"], by=ANN)
    app = make_app(idle_runtime, open_to_all=False)
    async with TestClient(TestServer(app)) as guarded:

        async def ask(token: str, name: str, verb: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return (await guarded.post(f"/v1/workers/{name}/{verb}", headers=headers)).status

        assert [await ask(limited, name, "drain") for name in ("own", "both", "theirs")] == [200, 403, 404]
        assert await ask(limited, "own", "resume") == 200
        assert [await ask(token, "own", "drain") for token in (of_one, reader)] == [404, 403]
        await add(idle_runtime, queue="files", meta={"user_id": 7})
        await claim(idle_runtime, "files", "own")
        assert await ask(of_one, "own", "drain") == 403
    # A process of an older version, and one that is gone, cannot be told.
    for name, fields in (("old", {}), ("silent", {"drains": True})):
        at = (await idle_runtime.database.clock.now()) - timedelta(minutes=2 if name == "silent" else 0)
        await workers.insert_one({"_id": name, "at": at, "host": "h", "posts": [], "isProcess": True, **fields})
        with pytest.raises(ConflictError, match="no drains" if name == "old" else "silent"):
            await idle_runtime.drains.drain(name, by=ANN)
    assert (await client.post("/v1/workers/old/drain")).status == 409
    # A process that was killed during its drain does not come back, and one that has decided to leave goes on.
    drain: dict[str, Any] = {"id": "1", "leaving": True}
    await workers.update_one({"_id": "silent"}, {"$set": {"drain": drain}})
    with pytest.raises(ConflictError, match="silent"):
        await idle_runtime.drains.undo("silent", by=ANN)
    await workers.update_one({"_id": "silent"}, [{"$set": {"at": "$$NOW"}}])
    with pytest.raises(ConflictError, match="leaves"):
        await idle_runtime.drains.undo("silent", by=ANN)


async def _is_gone(queue: JobQueue, name: str) -> bool:
    return all(worker.name != name for worker in await queue.workers())


async def _is_back(queue: JobQueue, job_id: str) -> bool:
    return (await queue.get(job_id)).state == "pending"


async def _runs(calls: AsyncClient, job_id: str) -> bool:
    return (await calls.get(job_id)).state == "processing"
