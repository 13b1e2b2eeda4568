"""Servers that are killed while they change something: nobody has to wait for what they have left."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import AuditQuery
from jobqueue.domain.search.query import JobQuery
from jobqueue.store.documents.documents import numbered_ids
from jobqueue.store.embedded.lifecycle import EmbeddedMongo
from tests.faults.conftest import DATABASE
from tests.support.crashes.crash_at import BUSY, BY, CHANGES, KILLED, TICK_DATA
from tests.support.data.factories import claim, succeed
from tests.support.data.scale import sized
from tests.support.unmeasured import environment
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime

ROOT = Path(__file__).parents[3]
SOON = aiohttp.ClientTimeout(total=5)
MOMENTS = [
    ("configure", "update", "started", "config", 1),
    ("configure", "update", "succeeded", "config", 1),
    ("configure", "update", "started", "config", 2),
    ("configure", "update", "succeeded", "config", 2),
    ("configure", "insert", "started", "audit", 1),
    ("configure", "insert", "succeeded", "audit", 1),
    ("configure", "update", "started", "config", 3),
    ("seal", "update", "succeeded", "audit", 1),
    ("seal", "findAndModify", "started", "batches", 1),
    ("seal", "findAndModify", "succeeded", "batches", 1),
    ("seal", "update", "started", "audit", 2),
    ("extend", "update", "started", "batches", 1),
    ("extend", "update", "succeeded", "batches", 1),
    ("extend", "update", "succeeded", "jobs", 1),
    ("extend", "insert", "started", "additions", 1),
    ("extend", "insert", "succeeded", "additions", 1),
    ("extend", "insert", "succeeded", "jobs", 1),
    ("extend", "commitTransaction", "started", "jobs", 1),
    ("extend", "commitTransaction", "succeeded", "jobs", 1),
    ("extend", "update", "started", "batches", 2),
]
"""The command at which a process is killed: its collection and its number."""


def change(queue: JobQueue, role: str, *how: Any) -> bool:
    """Make a change in a server of its own; return True if that was killed before it came to the end."""
    settings = queue.settle_for({})
    words = ["tests.support.crashes.crash_at", settings.mongo_url or "", settings.db, role, *map(str, how)]
    with ModuleProcess(*words, cwd=ROOT, env=environment()) as process:
        code = process.wait(60)
    assert code in {0, KILLED}
    return code == KILLED


@pytest.fixture(params=["a foreign server", "the embedded server"])
async def any_queue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JobQueue]:
    """Give a queue on a server that ends the transaction of a dead process after a minute, or sooner."""
    if request.param == "a foreign server":
        async with JobQueue(mongo_url=request.getfixturevalue("one_node").url, db=DATABASE) as opened:
            yield opened
        return
    with EmbeddedMongo.acquire(tmp_path / "embedded") as embedded:
        async with JobQueue(mongo_url=embedded.url, db=DATABASE) as opened:
            yield opened


async def new_batch(runtime: Runtime) -> str:
    """Create a batch that takes jobs, with a job that waits for another."""
    members = [Member(job=NewJob(type="first"), ref="first"), Member(job=NewJob(type="join"), after=("first",))]
    view, _ = await runtime.batches.create(NewBatch(members=members, sealed=False, on_complete=NewJob(type="done")))
    return view.batch.id


async def test_any_queue_is_paused_within_five_seconds_whenever_a_server_was_killed(
    any_queue: JobQueue, request: pytest.FixtureRequest
) -> None:
    runtime = await any_queue.open()
    is_embedded = "embedded" in request.node.callspec.id
    await runtime.configs.refresh()
    async with TestClient(TestServer(make_app(runtime))) as client:
        for number, moment in enumerate(sized(MOMENTS[is_embedded::6], MOMENTS)):
            batch_id = await new_batch(runtime)
            first = f"{number:024x}"
            value = first if moment[0] == "extend" else number + 1
            assert change(any_queue, *moment, value), moment
            for name in (BUSY, "calm"):
                for verb in ("pause", "resume"):
                    async with client.post(f"/v1/queues/{name}/{verb}", timeout=SOON) as answer:
                        assert answer.status == 200, (moment, await answer.text())
            more = {"jobs": [{"type": "more", "ref": "more"}]}
            async with client.post(f"/v1/batches/{batch_id}/jobs", json=more, timeout=SOON) as answer:
                # The seal may have been made.
                assert answer.status == 201 or moment[0] == "seal", (moment, await answer.text())
            async with client.post(f"/v1/batches/{batch_id}/seal", timeout=SOON) as answer:
                assert answer.status == 200, (moment, await answer.text())
            async with client.post(f"/v1/batches/{batch_id}/kill", timeout=SOON) as answer:
                assert answer.status == 200, (moment, await answer.text())


async def test_a_request_that_is_repeated_adds_its_jobs_though_a_killed_server_holds_them(any_queue: JobQueue) -> None:
    runtime = await any_queue.open()
    await runtime.configs.refresh()
    batch_id = await new_batch(runtime)
    first = "5" * 24
    assert change(any_queue, "extend", "insert", "succeeded", "jobs", 1, first)
    await CHANGES["extend"](runtime, first)
    assert len(await runtime.jobs.several(numbered_ids(first, 3))) == 3
    [join] = (await runtime.listing.page(JobQuery(type="join", limit=1))).items
    assert set(numbered_ids(first, 3)) < set(join.waits_for)
    found = await runtime.database.collection("batches").find_one({"_id": ObjectId(batch_id)})
    assert "adding" not in (found or {})


async def configuration(runtime: Runtime) -> Any:
    return (await runtime.queues.tagged(BUSY))[0].attempts


async def scheduled(runtime: Runtime) -> Any:
    found = [one.schedule for one in await runtime.schedules.store.page("", 10)]
    assert all(one is not None and one.job.data == TICK_DATA for one in found)
    return [one and one.wire() for one in found]


async def operating(runtime: Runtime) -> Any:
    return [(one.id, one.stage.value) for one in await runtime.operations.store.page()]


LOOKS = {
    "configure": configuration,
    "schedule": scheduled,
    "unschedule": scheduled,
    "operate": operating,
    "stop": operating,
}


ROLES = [
    ("configure", "started"),
    ("configure", "succeeded"),
    ("schedule", "started"),
    ("unschedule", "succeeded"),
    ("operate", "started"),
    ("stop", "succeeded"),
    *(
        pytest.param(role, phase, marks=pytest.mark.full)
        for role, phase in (
            ("schedule", "succeeded"),
            ("unschedule", "started"),
            ("operate", "succeeded"),
            ("stop", "started"),
        )
    ),
]


@pytest.mark.parametrize(("role", "phase"), ROLES)
async def test_the_audit_has_an_entry_of_each_change_that_was_made_and_of_no_other(
    queue: JobQueue, idle_runtime: Runtime, role: str, phase: str
) -> None:
    audit = idle_runtime.database.collection("audit")
    number, was_killed = 0, True
    while was_killed:
        number += 1
        if role == "unschedule":
            await CHANGES["schedule"](idle_runtime, "1")
        if role == "stop" and not await idle_runtime.operations.store.page(state="running"):
            await CHANGES["operate"](idle_runtime, "a")
        before, known = await LOOKS[role](idle_runtime), await audit.count_documents({})
        was_killed = change(queue, role, "write", phase, "*", number, number + 10)
        was_made = await LOOKS[role](idle_runtime) != before
        entries = await idle_runtime.audit.store.find(AuditQuery(limit=1000))
        assert len(entries) - known == was_made, (number, entries)
        if was_made:
            assert entries[0].by["name"] == BY.name
    # More than the change: the entry is moved where it belongs, too.
    assert number > 2
    for name in ("config", "schedules", "operations"):
        assert await idle_runtime.database.collection(name).count_documents({"audit": {"$exists": True}}) == 0


@pytest.mark.parametrize("phase", ["started", "succeeded"])
async def test_of_an_addition_that_a_killed_server_has_begun_all_is_there_or_nothing(
    queue: JobQueue, idle_runtime: Runtime, phase: str
) -> None:
    batches = idle_runtime.database.collection("batches")
    number, was_killed, seen = 0, True, set()
    while was_killed:
        number += 1
        batch_id = await new_batch(idle_runtime)
        first = f"{number:024x}"
        was_killed = change(queue, "extend", "write", phase, "*", number, first)
        await idle_runtime.batches.seal(batch_id)
        await succeed(idle_runtime, await claim(idle_runtime))
        late = {"$set": {"adding.$[].until": datetime.fromtimestamp(0, UTC)}}
        await batches.update_one({"_id": ObjectId(batch_id), "adding": {"$exists": True}}, late)
        await idle_runtime._batch_store.additions.run_once()
        await idle_runtime.outboxes.run_once()
        parts = await idle_runtime.jobs.several(numbered_ids(first, 3))
        [join] = (await idle_runtime.listing.page(JobQuery(type="join", limit=1))).items
        assert len(parts) in {0, 3}
        assert set(join.waits_for) == {one.id for one in parts}
        assert {one for one in join.depends_on if one in numbered_ids(first, 3)} == {one.id for one in parts}
        seen.add(len(parts))
        for _ in range(len(parts) + 1):
            claimed = await claim(idle_runtime)
            assert (await idle_runtime.batches.get(batch_id)).batch.state == "open"
            await succeed(idle_runtime, claimed)
        assert claimed.job.id == join.id
        await idle_runtime.outboxes.run_once()
        found = await batches.find_one({"_id": ObjectId(batch_id)}) or {}
        assert (found["state"], found.get("outbox"), found.get("adding")) == ("finished", None, None)
        assert (await claim(idle_runtime)).job.type == "done"
    assert seen == {0, 3}
