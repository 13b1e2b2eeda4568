"""Clients of one server: threads and forks, events, long logs, changes of many jobs, queues and schedules."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestServer

from jobqueue import (
    AsyncClient,
    Client,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    JobEvent,
    JobFailedError,
    Member,
    NewBatch,
    NewJob,
    NotFoundError,
    State,
    UnauthorizedError,
    Workflow,
)
from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import claim, fail, succeed
from tests.support.docs.readme import ROOT
from tests.support.faults.proxy import Proxy
from tests.support.http.in_threads import in_thread
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

LONG = 100


async def test_threads_and_forks_share_a_client_and_load_no_driver(server: str) -> None:
    program = ("-W", "error", "-m", "tests.support.http.forking_client", server)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    told = json.loads(said)
    assert (len(told["ids"]), told["codes"], told["loaded"]) == (4 * 5 * 4, [0, 0], [])
    assert told["ids"] == told["found"]


async def test_a_blocking_client_is_used_again_after_its_end(server: str) -> None:
    def use() -> list[str]:
        client = Client(server)
        added = client.add("a")
        client.close()
        client.close()
        with client:
            assert client.get(added.id).id == added.id
            return [job.id for job in client.jobs()]

    assert len(await in_thread(use)) == 1


async def test_events_go_on_where_a_connection_broke(server: str, client: AsyncClient) -> None:
    async with Proxy(int(server.rpartition(":")[2])) as proxy, AsyncClient(f"http://127.0.0.1:{proxy.port}") as far:
        seen: list[JobEvent] = []

        async def follow() -> None:
            async for event in far.events(queue="q"):
                assert isinstance(event, JobEvent)
                seen.append(event)

        following = asyncio.create_task(follow())
        await eventually(lambda: bool(proxy._writers))
        first = await eventually_seen(client, seen)
        for _ in range(2):
            proxy.cut()
            added = [(await client.add("a", queue="q")).id for _ in range(3)]
            await eventually(functools.partial(are_seen, added, seen))
        following.cancel()
        ids = [event.job_id for event in seen if event.kind == "inserted"]
        assert len(ids) == len(set(ids))
        assert (seen[0].job_id, seen[0].kind, seen[0].queue, seen[0].state) == (first, "inserted", "q", State.PENDING)


def are_seen(ids: list[str], events: list[JobEvent]) -> bool:
    return set(ids) <= {event.job_id for event in events}


async def eventually_seen(client: AsyncClient, seen: list[JobEvent]) -> str:
    """Add jobs until the stream has begun; return the first that it had."""

    async def look() -> bool:
        await client.add("a", queue="q")
        return bool(seen)

    await eventually(look, every=0.1)
    return seen[0].job_id


async def test_a_result_and_its_failure(runtime: Runtime, client: AsyncClient) -> None:
    good, bad = await client.add("a"), await client.add("a", attempts=1)
    await succeed(runtime, await claim(runtime), [1, {"n": 2}])
    await fail(runtime, await claim(runtime))
    assert await client.result(good.id) == [1, {"n": 2}]
    with pytest.raises(JobFailedError, match="Boom: it broke"):
        await client.result(bad.id, timeout=LONG)
    with pytest.raises(InvalidInputError, match="a transaction cannot span"):
        await client.add_job(NewJob(type="a"), session=object())


async def test_all_lines_of_a_log_come_in_order(runtime: Runtime, client: AsyncClient) -> None:
    job = await client.add("a")
    claimed = await claim(runtime)
    await runtime.work.report(claimed.job, claimed.token, lines=[(f"line {n}", None) for n in range(1500)])
    following = asyncio.create_task(collected(client, job.id))
    await runtime.work.report(claimed.job, claimed.token, lines=[("the last", "warning")])
    await succeed(runtime, claimed)
    lines = await following
    assert lines == [*(f"line {n}" for n in range(1500)), "the last"]
    assert [line.m async for line in client.logs(job.id, levels=["warning"])] == ["the last"]


async def collected(client: AsyncClient, job_id: str) -> list[str]:
    return [line.m async for line in client.logs(job_id, follow=True)]


async def test_jobs_are_found_by_filters_and_counted(client: AsyncClient) -> None:
    jobs = await client.add_all([NewJob(type="a", data={"n": n}) for n in range(3)])
    found = [job.id async for job in client.search({"data.n": {"$gte": 1}}, sort={"insertAt": 1}, limit=1)]
    assert found == [job.id for job in jobs[1:]]
    rows = [row async for row in client.rows(["data.n"], {"insertAt": {"$gt": datetime(2020, 1, 1, tzinfo=UTC)}})]
    assert sorted(row["data"]["n"] for row in rows) == [0, 1, 2]
    number = await client.count({"data.n": {"$gte": 1}})
    assert (number.count, number.states, number.truncated) == (2, {"pending": 2}, False)
    assert (await client.count(most=2)).truncated
    counted = await client.aggregate([{"$group": {"_id": "$type", "sum": {"$sum": "$data.n"}}}])
    assert (counted.items, counted.truncated) == ([{"_id": "a", "sum": 3}], False)
    with pytest.raises(InvalidInputError) as wrong:
        [job async for job in client.search({"$where": "1"})]
    assert list(wrong.value.problems) == ["filter.$where"]


async def test_many_jobs_are_changed_by_an_operation(runtime: Runtime, client: AsyncClient) -> None:
    for n in range(3):
        await client.add("a", {"n": n}, attempts=1)
        await fail(runtime, await claim(runtime))
    [group] = [group async for group in client.failures()]
    assert (group.count, group.kind, group.states) == (3, "Boom", {"failed": 3})
    whole = await client.failure(group.fingerprint)
    assert (whole.sample.message, len(whole.jobs)) == ("it broke", 3)
    assert len([job async for job in client.jobs(fingerprint=group.fingerprint)]) == 3
    tried = await client.try_failure(group.fingerprint)
    assert tried.state is State.PENDING
    preview = await client.preview_many("requeue", {"type": "a"})
    assert (preview.matched, len(preview.samples)) == (2, 2)
    begun = await client.requeue_failures(group.fingerprint, priority=4)
    ended = await client.wait_operation(begun.id, LONG)
    assert (ended.state, ended.done, ended.changes) == ("finished", 2, {"priority": 4})
    killed = await client.wait_operation((await client.kill_many({"type": "a"}, reason="enough")).id, LONG)
    deleted = await client.wait_operation((await client.delete_many(all_jobs=True)).id, LONG)
    assert (killed.done, killed.reason, deleted.done) == (3, "enough", 3)
    assert [one.id async for one in client.operations()] == [deleted.id, killed.id, ended.id]
    with pytest.raises(ConflictError, match="has ended already"):
        await client.stop_operation(ended.id)
    with pytest.raises(InvalidInputError):
        await client.delete_many()


async def test_batches_are_sealed_killed_and_waited_for(client: AsyncClient) -> None:
    view, _ = await client.add_batch(
        NewBatch(members=[Member(job=NewJob(type="a"))], meta={"user_id": 7}, sealed=False)
    )
    with pytest.raises(TimeoutError):
        await client.wait_batch(view.batch.id, timeout=0)
    assert (await client.seal_batch(view.batch.id)).batch.sealed
    assert await client.kill_batch(view.batch.id, "enough") == 1
    ended = await client.wait_batch(view.batch.id, LONG)
    assert (ended.batch.state, ended.verdict, ended.counts["killed"]) == ("finished", "failed", 1)
    assert [one.batch.id async for one in client.batches("finished")] == [view.batch.id]
    assert [one.batch.id async for one in client.batches(type="a", failed=True, meta={"user_id": 7})] == [view.batch.id]
    assert [one async for one in client.batches(type="b")] == []
    with pytest.raises(InvalidInputError, match=r"meta\.user_id: must be text, a number"):
        client.batches(meta={"user_id": [7]})
    assert (await client.requeue_batch(view.batch.id)).batch.generation == 1


async def test_queues_and_schedules_are_configured(client: AsyncClient) -> None:
    changed = await client.configure("media", concurrency=5, limit_by="meta.user_id", max_retries=7)
    assert (changed.concurrency, changed.limit_by, changed.max_retries) == (5, "meta.user_id", 7)
    await client.pause("media")
    shown = await client.queue("media")
    assert (shown.paused, shown.concurrency, shown.counts["pending"]) == (True, 5, 0)
    await client.pause("media", paused=False)
    assert (await client.replace_queue("media", attempts=9)).concurrency is None
    assert [one.name async for one in client.queues()] == ["media"]
    assert [one.target["name"] async for one in client.changes("media")][:1] == ["media"]
    await client.delete_queue("media")
    with pytest.raises(InvalidInputError) as wrong:
        await client.configure("media", concurrency=0)
    assert list(wrong.value.problems) == ["concurrency"]

    made = await client.put_schedule("nightly", NewJob(type="report"), cron="0 6 * * *", timezone="Europe/Berlin")
    assert (made.cron, made.job, made.paused) == ("0 6 * * *", {"type": "report", "queue": "default"}, False)
    assert made.next_runs[0] == made.next_at
    assert (await client.pause_schedule("nightly")).paused
    looked = await client.preview_schedule("other", cron="30 2 * * *", timezone="Europe/Berlin", count=3)
    assert [start["local"][11:16] for start in looked["starts"]] == ["02:30"] * 3
    assert [one.name async for one in client.schedules()] == ["nightly"]
    await client.delete_schedule("nightly")
    with pytest.raises(NotFoundError):
        await client.schedule("nightly")
    with pytest.raises(NotFoundError):
        await client.delete_schedule("nightly")
    assert (await client.suggestions("state", "fail")).items[0].value == "failed"
    assert {entry.target["kind"] async for entry in client.audit()} == {"queue", "schedule"}


async def test_a_workflow_is_started_over_http(runtime: Runtime, client: AsyncClient) -> None:
    flow = Workflow("numbers")
    first = flow.add(NewJob(type="a"))
    flow.add(NewJob(type="b"), after=[first])
    started = await client.start(flow)
    for result in (1, 2):
        await succeed(runtime, await claim(runtime), result)
    assert (await started.wait(LONG)).verdict == "success"
    assert [result async for result in started.results()] == [1, 2]
    assert [result async for result in started.results("b")] == [2]
    assert await started.result(first) == 1


async def test_a_workflow_is_started_without_an_event_loop(runtime: Runtime, server: str) -> None:
    flow = Workflow("numbers")
    first = flow.add(NewJob(type="a"))
    with Client(server, timeout=100) as client:
        started = await asyncio.to_thread(client.start, flow)
        await succeed(runtime, await claim(runtime), 7)
        assert (await asyncio.to_thread(started.wait, LONG)).verdict == "success"
        assert await asyncio.to_thread(lambda: (started.result(first), list(started.results()))) == (7, [7])


async def test_tokens_workers_graphs_and_runs_of_schedules_are_at_hand(client: AsyncClient) -> None:
    made = await client.create_token(["read", "work"], queues=["media*"], meta={"user_id": 7}, name="ann", expires=60)
    assert (made.roles, made.queues, made.meta, made.token[:3]) == (["read", "work"], ["media*"], {"user_id": 7}, "jq_")
    await client.revoke_token(made.id)
    [revoked] = [token async for token in client.tokens()]
    assert (revoked.id, revoked.name, revoked.revoked_at is not None) == (made.id, "ann", True)
    members = [Member(job=NewJob(type="a"), ref="first"), Member(job=NewJob(type="b"), after=["first"])]
    batch, jobs = await client.add_batch(NewBatch(members=members))
    graph = await client.graph(batch.batch.id)
    depends = {node.id: node.depends_on for node in graph.jobs}
    assert depends == {jobs[0].id: [], jobs[1].id: [jobs[0].id]}
    assert (await client.queue_why("default")).reasons[0]["kind"]
    await client.put_schedule("nightly", NewJob(type="report"), every=3600)
    assert (await client.run_schedule("nightly")).type == "report"
    assert all(worker.running == [] for worker in [one async for one in client.workers()])
    assert [one async for one in client.types("nobody")] == []


async def test_relatives_reasons_steps_and_figures_are_shown(runtime: Runtime, client: AsyncClient) -> None:
    parent = await client.add("a", on_success=NewJob(type="child"))
    claimed = await claim(runtime)
    await runtime.work.steps.record(claimed.job, claimed.token, "fetch", {"rows": 3})
    await succeed(runtime, claimed)
    [child] = await eventually(lambda: children(client, parent.id))
    family = await client.family(parent.id)
    assert (family.job.id, [one.id for one in family.job.children], family.batch) == (parent.id, [child], None)
    assert (await client.why(child)).reasons[0]["kind"]
    assert [step.name for step in await client.steps(parent.id)] == ["fetch"]
    assert await client.step_result(parent.id, "fetch") == {"rows": 3}
    assert (await client.patch(child, priority=8, delay_til=None)).priority == 8
    assert (await client.stats(windows=["5m"]))["windows"].keys() == {"5m"}


async def children(client: AsyncClient, job_id: str) -> list[str]:
    return [job.id async for job in client.jobs(parent_id=job_id)]


async def test_a_token_is_sent_and_its_limits_have_their_errors(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    by = Actor(name="test", via="python")
    _, reader = await runtime.access.create(roles=["read"], by=by)
    _, administrator = await runtime.access.create(roles=["admin"], by=by)
    async with TestServer(make_app(runtime, open_to_all=False)) as server:
        url = str(server.make_url(""))
        async with AsyncClient(url) as nobody:
            with pytest.raises(UnauthorizedError):
                await nobody.add("a")
        monkeypatch.setenv("JOBQUEUE_URL", url)
        monkeypatch.setenv("JOBQUEUE_API_TOKEN", administrator)
        async with AsyncClient() as client:
            job = await client.add("a")
        async with AsyncClient(token=reader) as limited:
            assert (await limited.get(job.id)).id == job.id
            with pytest.raises(ForbiddenError):
                await limited.kill(job.id)
