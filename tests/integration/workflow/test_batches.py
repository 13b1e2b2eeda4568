"""Batches over HTTP: jobs created together, what follows when they have ended, and starting again what failed."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import State
from jobqueue.domain.insight.audit import AuditQuery
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import FAILED, Member, NewBatch
from jobqueue.store.workflow.generations import GenerationStore
from tests.support.data.factories import ERROR, claim, die, fail, open_runtime, set_clock, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

CALLBACKS = {"onComplete": {"type": "done"}, "onSuccess": [{"type": "good"}], "onFailure": {"type": "bad"}}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def create(client: Client, *jobs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = await client.post("/v1/batches", json={"jobs": list(jobs), **fields})
    assert answer.status == 201, await answer.text()
    made: dict[str, Any] = await answer.json()
    assert answer.headers["Location"] == f"/v1/batches/{made['id']}"
    return made


async def look(client: Client, batch_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/batches/{batch_id}")
    assert answer.status == 200
    found: dict[str, Any] = await answer.json()
    return found


async def callbacks(runtime: Runtime, batch_id: str) -> list[tuple[str, int]]:
    """Return the types and generations of the callbacks that were created, in order of creation."""
    cursor = runtime.jobs.collection.find({"callbackOf": {"$exists": True}}).sort([("insertAt", 1), ("_id", 1)])
    found = [one async for one in cursor]
    assert {str(one["callbackOf"]["batchId"]) for one in found} <= {batch_id}
    return sorted((one["type"], one["callbackOf"]["generation"]) for one in found)


async def job(runtime: Runtime, made: dict[str, Any], ref: str) -> Job:
    return await runtime.jobs.get(next(one["id"] for one in made["jobs"] if one["ref"] == ref))


async def test_a_batch_finishes_with_its_last_job_and_its_callbacks_are_created_once(
    client: Client, idle_runtime: Runtime
) -> None:
    made = await create(client, {"type": "a"}, {"type": "b"}, meta={"user_id": 7}, **CALLBACKS)
    assert (made["state"], made["sealed"], made["total"], made["progress"]) == ("open", True, 2, 0)
    await succeed(idle_runtime, await claim(idle_runtime))
    half = await look(client, made["id"])
    assert (half["state"], half["progress"], half["counts"]["success"]) == ("open", 50, 1)
    await succeed(idle_runtime, await claim(idle_runtime))
    done = await look(client, made["id"])
    assert (done["state"], done["progress"], done["meta"]) == ("finished", 100, {"user_id": 7})
    assert done["endAt"] is not None
    assert await callbacks(idle_runtime, made["id"]) == [("done", 0), ("good", 0)]
    called = await claim(idle_runtime)
    assert called.job.callback_of is not None
    assert called.job.callback_of["counts"]["success"] == 2
    await idle_runtime.outboxes.run_once()
    await idle_runtime.outboxes._batches.settle(made["id"])
    assert await callbacks(idle_runtime, made["id"]) == [("done", 0), ("good", 0)]


@pytest.mark.parametrize("year", [2105, 2106, 2126, 9000])
async def test_callbacks_and_children_are_created_in_any_year(idle_runtime: Runtime, year: int) -> None:
    set_clock(idle_runtime, datetime(year, 12, 31, tzinfo=UTC))
    child = NewJob(type="child", queue="children")
    member = Member(job=NewJob(type="work", on_success=child))
    await idle_runtime.batches.create(NewBatch(members=[member], sealed=True, on_complete=NewJob(type="callback")))
    job = await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.outboxes.run_once()
    assert len((await idle_runtime.manager.family(job.id)).tree.children) == 1
    assert (await claim(idle_runtime)).job.type == "callback"


async def test_the_first_final_failure_is_told_at_once_and_only_once(client: Client, idle_runtime: Runtime) -> None:
    made = await create(client, *({"type": "a", "attempts": 1} for _ in range(3)), **CALLBACKS)
    await fail(idle_runtime, await claim(idle_runtime))
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0)]
    await die(idle_runtime, await claim(idle_runtime))
    await succeed(idle_runtime, await claim(idle_runtime))
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0), ("done", 0)]
    assert (await look(client, made["id"]))["counts"] | {"success": 1, "failed": 1, "killed": 1} == (
        await look(client, made["id"])
    )["counts"]


async def test_an_open_batch_takes_jobs_until_it_is_sealed(client: Client, idle_runtime: Runtime) -> None:
    made = await create(client, {"type": "a"}, sealed=False, onComplete={"type": "done"})
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await look(client, made["id"]))["state"] == "open"
    more = await client.post(f"/v1/batches/{made['id']}/jobs", json={"jobs": [{"type": "b", "ref": "late"}]})
    assert (more.status, [one["ref"] for one in (await more.json())["jobs"]]) == (201, ["late"])
    assert (await (await client.post(f"/v1/batches/{made['id']}/seal")).json())["state"] == "open"
    refused = await client.post(f"/v1/batches/{made['id']}/jobs", json={"jobs": [{"type": "c"}]})
    assert refused.status == 409
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await look(client, made["id"]))["state"] == "finished"
    assert await callbacks(idle_runtime, made["id"]) == [("done", 0)]
    assert (await client.post(f"/v1/batches/{made['id']}/jobs", json={"jobs": [{"type": "c"}]})).status == 409


async def test_an_empty_sealed_batch_is_finished_at_once(client: Client, idle_runtime: Runtime) -> None:
    made = await create(client, **CALLBACKS)
    assert (made["state"], made["progress"]) == ("finished", 100)
    assert await callbacks(idle_runtime, made["id"]) == [("done", 0), ("good", 0)]
    later = await create(client, sealed=False, onComplete={"type": "done"})
    assert later["state"] == "open"
    assert (await (await client.post(f"/v1/batches/{later['id']}/seal")).json())["state"] == "finished"


async def test_killing_a_batch_ends_though_something_in_it_cannot_be_killed(idle_runtime: Runtime) -> None:
    view, _ = await idle_runtime.batches.create(NewBatch(members=[Member(job=NewJob(type="a"))]))
    # Put there by another tool, and not taken over yet.
    odd = {"type": "b", "state": "pending", "batchId": ObjectId(view.batch.id)}
    await idle_runtime.jobs.collection.insert_one(odd)
    async with asyncio.timeout(20):
        assert await idle_runtime.batches.kill_all(view.batch.id) == 1


async def test_a_killed_batch_leaves_no_job_to_run(client: Client, idle_runtime: Runtime) -> None:
    made = await create(
        client,
        {"type": "a", "ref": "a"},
        {"type": "b"},
        {"type": "c", "dependsOn": ["a"], "dependencyPolicy": "hold"},
        onFailure={"type": "bad"},
    )
    running = await claim(idle_runtime)
    killed = await (await client.post(f"/v1/batches/{made['id']}/kill", json={"reason": "no longer wanted"})).json()
    assert (killed["state"], killed["killed"], killed["counts"]["killed"]) == ("finished", 3, 3)
    assert (await idle_runtime.jobs.get(running.job.id)).state is State.KILLED
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0)]


async def test_a_large_batch_is_killed_by_an_operation_that_any_process_carries_on(
    client: Client, idle_runtime: Runtime, settings: Settings
) -> None:
    count = 130
    made = await create(client, *({"type": "a"} for _ in range(count)), onFailure={"type": "bad"})
    other = await create(client, {"type": "other"})
    running = await claim(idle_runtime)
    answer = await client.post(f"/v1/batches/{made['id']}/kill", json={"reason": "no longer wanted"})
    operation = await answer.json()
    assert (answer.status, answer.headers["Location"]) == (202, f"/v1/operations/{operation['id']}")
    assert (operation["action"], operation["matched"], operation["state"]) == ("kill", count, "running")
    async with open_runtime(settings) as elsewhere:
        while await elsewhere.operations.carry_on(operation["id"]):
            pass
    ended = await (await client.get(answer.headers["Location"])).json()
    assert (ended["state"], ended["done"]) == ("finished", count)
    assert (await look(client, made["id"]))["counts"]["killed"] == count
    killed = await idle_runtime.jobs.get(running.job.id)
    assert (killed.state, killed.error and killed.error.message) == (State.KILLED, "no longer wanted")
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0)]
    assert (await look(client, other["id"]))["counts"]["pending"] == 1
    [note] = await idle_runtime.audit.store.find(AuditQuery(kind="batch", name=made["id"]))
    assert note.after == {"operation": operation["id"]}


async def test_a_requeue_runs_what_failed_and_what_fell_with_it_and_nothing_else(
    client: Client, idle_runtime: Runtime
) -> None:
    made = await create(
        client,
        {"type": "good", "ref": "fine"},
        {"type": "weak", "ref": "weak", "attempts": 1},
        {"type": "next", "ref": "next", "dependsOn": ["weak"]},
        {"type": "last", "ref": "last", "dependsOn": ["next", "fine"]},
        onComplete={"type": "done"},
        onSuccess={"type": "won"},
        onFailure={"type": "bad"},
    )
    await succeed(idle_runtime, await claim(idle_runtime), "kept")
    await fail(idle_runtime, await claim(idle_runtime))
    for ref in ("next", "last"):
        fallen = await job(idle_runtime, made, ref)
        assert fallen.state is State.KILLED
        assert fallen.error is not None
        assert fallen.error.kind == "dependency"
    culprit = await job(idle_runtime, made, "weak")
    assert culprit.id in (await job(idle_runtime, made, "next")).error.message  # type: ignore[union-attr]
    assert (await look(client, made["id"]))["state"] == "finished"
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0), ("done", 0)]
    for _ in range(2):
        await idle_runtime.manager.kill((await claim(idle_runtime)).job.id)

    again = await (await client.post(f"/v1/batches/{made['id']}/requeue")).json()
    assert (again["state"], again["generation"]) == ("open", 1)
    states = {ref: (await job(idle_runtime, made, ref)).state.value for ref in ("fine", "weak", "next", "last")}
    assert states == {"fine": "success", "weak": "pending", "next": "delayed", "last": "delayed"}
    for ref in ("weak", "next", "last"):
        claimed = await claim(idle_runtime)
        assert claimed.job.id == (await job(idle_runtime, made, ref)).id
        await succeed(idle_runtime, claimed, ref)
    assert (await look(client, made["id"]))["state"] == "finished"
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0), ("done", 0), ("done", 1), ("won", 1)]
    assert (await job(idle_runtime, made, "fine")).run == 0
    for _ in range(2):
        nothing = await (await client.post(f"/v1/batches/{made['id']}/requeue")).json()
        assert (nothing["state"], nothing["generation"], nothing["verdict"]) == ("finished", 1, "success")
    assert await callbacks(idle_runtime, made["id"]) == [("bad", 0), ("done", 0), ("done", 1), ("won", 1)]


async def test_a_requeue_that_a_crash_has_interrupted_is_carried_on_by_whoever_comes_next(
    client: Client, idle_runtime: Runtime
) -> None:
    made = await create(client, {"type": "a", "ref": "a", "attempts": 1}, {"type": "b", "ref": "b", "dependsOn": ["a"]})
    await fail(idle_runtime, await claim(idle_runtime))
    batch = (await idle_runtime.batches.get(made["id"])).batch
    assert await GenerationStore(idle_runtime.database).restart(batch, FAILED, again=False) is not None
    assert (await look(client, made["id"]))["state"] == "open"
    refused = await client.post(f"/v1/batches/{made['id']}/jobs", json={"jobs": [{"type": "c"}]})
    assert refused.status == 409
    for _ in range(2):
        await idle_runtime.outboxes.run_once()
    assert (await job(idle_runtime, made, "a")).state is State.PENDING
    assert (await job(idle_runtime, made, "b")).state is State.DELAYED
    await fail(idle_runtime, await claim(idle_runtime), ERROR)
    await idle_runtime.outboxes.run_once()
    assert (await job(idle_runtime, made, "b")).state is State.KILLED
    assert (await look(client, made["id"]))["state"] == "finished"


async def test_the_callbacks_of_a_batch_that_is_well_come_again_only_if_asked_for(
    client: Client, idle_runtime: Runtime
) -> None:
    made = await create(client, {"type": "a"}, **CALLBACKS)
    assert (made["verdict"], made["standIns"]) == (None, [])
    await succeed(idle_runtime, await claim(idle_runtime))
    path = f"/v1/batches/{made['id']}/requeue"
    for body, generation in (({}, 0), ({"callbacks": False}, 0), ({"callbacks": True}, 1)):
        again = await (await client.post(path, json=body)).json()
        assert (again["state"], again["generation"], again["verdict"]) == ("finished", generation, "success")
    assert await callbacks(idle_runtime, made["id"]) == [("done", 0), ("done", 1), ("good", 0), ("good", 1)]
    refused = await client.post(path, json={"callbacks": "yes", "more": 1})
    assert (refused.status, set((await refused.json(content_type=None))["errors"])) == (422, {"callbacks", "more"})


async def test_batches_are_listed_newest_first(client: Client) -> None:
    ids = [(await create(client, {"type": "a"}, meta={"n": n}))["id"] for n in range(5)]
    empty = (await create(client))["id"]
    first = await (await client.get("/v1/batches?limit=4")).json()
    assert [one["id"] for one in first["items"]] == [empty, *reversed(ids)][:4]
    rest = await (await client.get(f"/v1/batches?limit=4&cursor={first['next']}")).json()
    assert ([one["id"] for one in rest["items"]], rest["next"]) == ([ids[1], ids[0]], None)
    finished = await (await client.get("/v1/batches?state=finished")).json()
    assert [one["id"] for one in finished["items"]] == [empty]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"jobs": [{"type": "a", "ref": "x"}, {"type": "b", "ref": "x"}]}, {"jobs.1.ref"}),
        ({"jobs": [{"type": "a", "dependsOn": ["nobody"]}]}, {"jobs.0.dependsOn.0"}),
        ({"jobs": [{"type": "a", "dependsOn": ["f" * 24]}]}, {"jobs.0.dependsOn.0"}),
        ({"jobs": [{"type": "a", "ref": "x", "dependsOn": ["x"]}]}, {"jobs.0.dependsOn.0"}),
        (
            {"jobs": [{"type": "a", "ref": "x", "dependsOn": ["y"]}, {"type": "b", "ref": "y", "dependsOn": ["x"]}]},
            {"jobs.0.dependsOn", "jobs.1.dependsOn"},
        ),
        ({"jobs": [{"type": "a", "ref": "a b"}, {"type": ""}]}, {"jobs.0.ref", "jobs.1.type"}),
        ({"jobs": [{"type": "a", "dependencyPolicy": "wait"}]}, {"jobs.0.dependencyPolicy"}),
        ({"jobs": [{"type": "a", "dependsOn": "x"}]}, {"jobs.0.dependsOn"}),
        ({"jobs": [5]}, {"jobs.0"}),
        ({"jobs": {}}, {"jobs"}),
        ({"jobs": [], "onComplete": {"type": 5}}, {"onComplete.type"}),
        ({"jobs": [], "meta": [], "state": "open"}, {"meta", "state"}),
        ({"jobs": [{"type": "a", "key": "k"}, {"type": "b", "key": "k"}]}, {"jobs.1.key"}),
    ],
)
async def test_a_wrong_batch_is_refused_by_name_and_nothing_of_it_is_stored(
    client: Client, idle_runtime: Runtime, given: object, names: set[str]
) -> None:
    answer = await client.post("/v1/batches", json=given)
    assert answer.status == 422, await answer.text()
    assert set((await answer.json(content_type=None))["errors"]) == names
    for collection in ("batches", "jobs"):
        assert await idle_runtime.database.collection(collection).count_documents({}) == 0


async def test_a_batch_whose_key_is_taken_is_not_created_at_all(client: Client, idle_runtime: Runtime) -> None:
    await client.post("/v1/jobs", json={"type": "a", "key": "k"})
    answer = await client.post("/v1/batches", json={"jobs": [{"type": "b"}, {"type": "c", "key": "k"}]})
    assert answer.status == 409
    assert await idle_runtime.jobs.collection.count_documents({}) == 1
    assert await idle_runtime.database.collection("batches").count_documents({}) == 0


async def test_what_does_not_exist_is_told(client: Client) -> None:
    nobody = f"/v1/batches/{'f' * 24}"
    assert (await client.get(nobody)).status == 404
    for verb in ("seal", "kill", "requeue"):
        assert (await client.post(f"{nobody}/{verb}")).status == 404
    assert (await client.post(f"{nobody}/jobs", json={"jobs": [{"type": "a"}]})).status == 404
    assert (await client.get("/v1/batches/5")).status == 422


async def test_ten_thousand_jobs_fit_into_one_request(client: Client) -> None:
    # More than other requests may have.
    body = json.dumps({"jobs": [{"type": "a", "data": {"n": n, "text": "x" * 1000}} for n in range(10_000)]})
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v1/batches", data=io.BytesIO(body.encode()), headers=headers)
    assert answer.status == 201, await answer.text()
    made = await answer.json()
    assert (len(made["jobs"]), made["counts"]["pending"]) == (10_000, 10_000)
    answer = await client.post("/v1/batches", json={"jobs": [{"type": "a"}] * 10_001})
    assert answer.status == 422
