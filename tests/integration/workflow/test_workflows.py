"""Jobs that run after others: in order, whatever fails, whoever crashes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import ConflictError, InvalidInputError, ResultUnavailableError, StaleTokenError
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.work.results import Results
from tests.support.data.factories import LONG_AGO, add, claim, die, fail, open_runtime, succeed
from tests.support.data.scale import sized
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.workflow.batch import AddedMember
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


def step(ref: str, *after: str, **fields: Any) -> Member:
    return Member(job=NewJob(type=ref, **fields), ref=ref, after=after)


async def create(runtime: Runtime, *members: Member, **fields: Any) -> dict[str, str]:
    """Create a batch; return its id and those of its jobs by their refs."""
    view, added = await runtime.batches.create(NewBatch(members=members, **fields))
    return {"batch": view.batch.id} | {one.ref: one.id for one in added if one.ref}


async def states(runtime: Runtime, ids: dict[str, str]) -> dict[str, str]:
    found = {ref: await runtime.jobs.find(job_id) for ref, job_id in ids.items() if ref != "batch"}
    return {ref: job.state.value for ref, job in found.items() if job is not None}


async def run(runtime: Runtime, ids: dict[str, str], ref: str, result: Any = None) -> None:
    """Claim the next job, which has to be this one, and let it succeed."""
    claimed = await claim(runtime)
    assert claimed.job.id == ids[ref]
    await succeed(runtime, claimed, result)


async def test_a_diamond_runs_in_order_and_each_job_gets_the_results_before_it(idle_runtime: Runtime) -> None:
    ids = await create(
        idle_runtime, step("end", "left", "right"), step("left", "start"), step("right", "start"), step("start")
    )
    assert await states(idle_runtime, ids) == {
        "end": "delayed",
        "left": "delayed",
        "right": "delayed",
        "start": "pending",
    }
    await run(idle_runtime, ids, "start", {"n": 1})
    for ref in ("left", "right"):
        claimed = await claim(idle_runtime)
        assert claimed.job.id == ids[ref]
        assert claimed.job.parents == (
            {"id": ids["start"], "type": "start", "state": "success", "ref": "start", "result": {"n": 1}},
        )
        await succeed(idle_runtime, claimed, ref.upper())
    last = await claim(idle_runtime)
    assert [(one["ref"], one["result"]) for one in last.job.parents or ()] == [("left", "LEFT"), ("right", "RIGHT")]
    await succeed(idle_runtime, last)
    assert (await idle_runtime.batches.get(ids["batch"])).batch.state == "finished"


async def test_when_a_job_fails_what_depends_on_it_does_what_it_was_told_to(idle_runtime: Runtime) -> None:
    ids = await create(
        idle_runtime,
        step("weak", attempts=1),
        step("killed", "weak"),
        step("later", "killed", on_failure={"type": "told"}),
        step("runs", "weak", dependency_policy="run"),
        step("holds", "weak", dependency_policy="hold"),
    )
    await fail(idle_runtime, await claim(idle_runtime))
    assert await states(idle_runtime, ids) == {
        "weak": "failed",
        "killed": "killed",
        "later": "killed",
        "runs": "pending",
        "holds": "delayed",
    }
    assert (await idle_runtime.jobs.collection.count_documents({"type": "told"})) == 1
    why = await idle_runtime.explainer.why(ids["holds"])
    assert [reason.kind for reason in why.reasons][:1] == ["dependency"]
    assert why.reasons[0].details["jobs"] == [{"id": ids["weak"], "state": "failed"}]
    await idle_runtime.manager.requeue(ids["weak"])
    order = [(await claim(idle_runtime)) for _ in range(3)]
    weak = next(one for one in order if one.job.id == ids["weak"])
    await succeed(idle_runtime, weak)
    assert (await states(idle_runtime, ids))["holds"] == "pending"


async def test_jobs_may_depend_on_any_jobs_in_whatever_state_those_are(idle_runtime: Runtime) -> None:
    done = await succeed(idle_runtime, await _claimed(idle_runtime, "done"))
    assert (await add(idle_runtime, "free", depends_on=[done.id])).state is State.PENDING
    await succeed(idle_runtime, await claim(idle_runtime))
    failed = await fail(idle_runtime, await _claimed(idle_runtime, "bad", attempts=1))
    fallen = await add(idle_runtime, "fallen", depends_on=[failed.id])
    assert fallen.state is State.KILLED
    assert fallen.error is not None
    assert failed.id in fallen.error.message
    assert (await add(idle_runtime, "runs", depends_on=[failed.id], dependency_policy="run")).state is State.PENDING
    await succeed(idle_runtime, await claim(idle_runtime))
    running = await _claimed(idle_runtime, "slow")
    waiting = await add(idle_runtime, "waiting", depends_on=[running.job.id, done.id])
    assert (waiting.state, waiting.delay_til) == (State.DELAYED, None)
    await succeed(idle_runtime, running)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.PENDING
    with pytest.raises(InvalidInputError, match=r"dependsOn.1"):
        await add(idle_runtime, "x", depends_on=[done.id, "f" * 24])


async def _claimed(runtime: Runtime, kind: str, **fields: Any) -> Any:
    await add(runtime, kind, **fields)
    return await claim(runtime)


async def test_a_job_that_waits_is_not_started_by_its_time_and_keeps_it(idle_runtime: Runtime) -> None:
    first = await _claimed(idle_runtime, "first")
    waiting = await add(idle_runtime, "second", depends_on=[first.job.id], delay=3600)
    other = await add(idle_runtime, "third", depends_on=[first.job.id], delay_til=LONG_AGO)
    await idle_runtime.jobs.promote_due()
    assert (await idle_runtime.jobs.get(other.id)).state is State.DELAYED
    await succeed(idle_runtime, first)
    assert (await idle_runtime.jobs.get(other.id)).state is State.PENDING
    late = await idle_runtime.jobs.get(waiting.id)
    assert late.state is State.DELAYED
    assert late.delay_til is not None


async def test_a_person_can_kill_or_start_a_job_that_waits(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("a"), step("b", "a"), step("c", "a"))
    await idle_runtime.manager.kill(ids["b"])
    assert (await idle_runtime.manager.requeue(ids["c"])).state is State.PENDING
    await run(idle_runtime, ids, "a")
    assert await states(idle_runtime, ids) == {"a": "success", "b": "killed", "c": "pending"}
    again = await idle_runtime.manager.requeue(ids["b"])
    assert (again.state, again.waits_for) == (State.PENDING, ())


async def test_whatever_a_crash_leaves_undone_is_done_by_the_next_who_looks(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await create(idle_runtime, step("a", attempts=1), step("b", "a"), step("c", "b"), sealed=True)

    async def crash(*_: object) -> None:
        raise SystemError("the process dies here")

    monkeypatch.setattr(idle_runtime.outboxes, "finish", crash)
    with pytest.raises(SystemError):
        await fail(idle_runtime, await claim(idle_runtime))
    assert (await states(idle_runtime, ids))["b"] == "delayed"
    async with open_runtime(settings) as other:
        await other.outboxes.run_once()
        assert await states(other, ids) == {"a": "failed", "b": "killed", "c": "killed"}
        assert (await other.batches.get(ids["batch"])).batch.state == "finished"


async def test_a_job_that_is_depended_on_while_it_runs_releases_the_new_one_too(idle_runtime: Runtime) -> None:
    running = await _claimed(idle_runtime, "slow")
    # The worker's copy of the job knows nothing of the dependent.
    waiting = await add(idle_runtime, "next", depends_on=[running.job.id])
    assert not running.job.has_dependents
    await succeed(idle_runtime, running)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.PENDING


async def test_jobs_that_come_to_depend_on_one_that_ends_at_that_moment_are_never_left_behind(
    settings: Settings, idle_runtime: Runtime
) -> None:
    async with open_runtime(settings) as other:
        for _ in range(sized(25, 500)):
            running = await _claimed(idle_runtime, "slow")
            waiting, _ = await asyncio.gather(
                add(other, "next", depends_on=[running.job.id]), succeed(idle_runtime, running)
            )
            assert (await idle_runtime.jobs.get(waiting.id)).state is State.PENDING
            await succeed(idle_runtime, await claim(idle_runtime))


async def number(runtime: Runtime, state: str) -> int:
    return int(await runtime.jobs.collection.count_documents({"state": state}))


async def until(runtime: Runtime, state: str, count: int) -> None:
    async def is_so() -> bool:
        return await number(runtime, state) == count

    await eventually(is_so, within=60)


def chain(length: int) -> list[Member]:
    return [step("s0", attempts=1), *(step(f"s{place}", f"s{place - 1}") for place in range(1, length))]


async def test_a_long_chain_falls_and_rises_in_the_background(idle_runtime: Runtime) -> None:
    length = 80
    idle_runtime.outboxes.patience = 0
    ids = await create(idle_runtime, *chain(length))
    await fail(idle_runtime, await claim(idle_runtime))
    # The report is answered although the end of the chain has not heard of it.
    assert await number(idle_runtime, "delayed") > 0
    await until(idle_runtime, "killed", length - 1)
    await idle_runtime.batches.requeue(ids["batch"])
    assert await number(idle_runtime, "killed") > 0
    await until(idle_runtime, "delayed", length - 1)
    await eventually(lambda: not idle_runtime.outboxes._cascades)
    idle_runtime.outboxes.patience = 60
    for n in range(length):
        await run(idle_runtime, ids, f"s{n}")
    assert (await idle_runtime.batches.get(ids["batch"])).batch.state == "finished"


async def test_a_cascade_that_is_cut_short_is_carried_on_by_another_process(
    idle_runtime: Runtime, settings: Settings
) -> None:
    length = 60
    idle_runtime.outboxes.patience = 0
    await create(idle_runtime, *chain(length))
    await fail(idle_runtime, await claim(idle_runtime))
    for cascade in list(idle_runtime.outboxes._cascades):
        cascade.cancel()
    await idle_runtime.outboxes.drain()
    fallen = await number(idle_runtime, "killed")
    assert fallen < length - 1
    async with open_runtime(settings) as other:
        await other.outboxes.run_once()
        await until(other, "killed", length - 1)


async def test_a_job_on_which_hundreds_depend_takes_all_of_them_along(idle_runtime: Runtime) -> None:
    width = 300
    await create(idle_runtime, step("s0", attempts=1), *(step(f"s{place}", "s0") for place in range(1, width)))
    await fail(idle_runtime, await claim(idle_runtime))
    await until(idle_runtime, "killed", width - 1)


async def test_a_cascade_of_kills_quotes_the_job_at_which_it_began_once(idle_runtime: Runtime) -> None:
    length = 30
    ids = await create(idle_runtime, step("s0"), *(step(f"s{place}", f"s{place - 1}") for place in range(1, length)))
    await die(idle_runtime, await claim(idle_runtime), JobError(kind="die", message="x" * 6000 + " and the end"))
    errors = [(await idle_runtime.jobs.get(ids[f"s{place}"])).error for place in range(1, length)]
    cause = f"job {ids['s0']} (s0) was killed: {'x' * 6000} and the end"
    assert {(error.kind, error.message) for error in errors if error} == {("dependency", cause)}
    late = await add(idle_runtime, "late", depends_on=[ids[f"s{length - 1}"]])
    error = (await idle_runtime.jobs.get(late.id)).error
    assert error is not None
    assert error.message == cause


async def test_a_requeue_lets_a_job_wait_again_whose_dependency_is_started_anew(idle_runtime: Runtime) -> None:
    ids = await create(
        idle_runtime,
        step("find", attempts=1),
        step("fine"),
        step("report", "find", "fine", dependency_policy="run", attempts=1),
    )
    await fail(idle_runtime, await claim(idle_runtime))
    await run(idle_runtime, ids, "fine")
    await fail(idle_runtime, await claim(idle_runtime))
    assert await states(idle_runtime, ids) == {"find": "failed", "fine": "success", "report": "failed"}
    await idle_runtime.batches.requeue(ids["batch"])
    assert await states(idle_runtime, ids) == {"find": "pending", "fine": "success", "report": "delayed"}
    await run(idle_runtime, ids, "find")
    await run(idle_runtime, ids, "report")
    assert (await idle_runtime.batches.get(ids["batch"])).batch.state == "finished"


async def test_hundreds_of_jobs_may_come_together_in_one(idle_runtime: Runtime) -> None:
    count = 300
    many = [step(f"n{number}") for number in range(count)]
    ids = await create(idle_runtime, *many, step("end", *(f"n{number}" for number in range(count))))
    claims = [await claim(idle_runtime) for _ in range(count)]
    for start in range(0, count, 50):
        await asyncio.gather(*(succeed(idle_runtime, one, start) for one in claims[start : start + 50]))
    last = await claim(idle_runtime)
    assert last.job.id == ids["end"]
    assert len(last.job.parents or ()) == count


async def test_results_over_eight_mebibytes_are_loaded_when_they_are_asked_for(queue: JobQueue) -> None:
    seen: dict[str, Any] = {}

    @queue.handler("part")
    async def part(job: Any) -> str:
        return str(job.data["letter"]) * 4_000_000

    @queue.handler("none")
    async def none(_: Any) -> None:
        return None

    @queue.handler("join")
    async def join(job: Any) -> int:
        seen["omitted"] = [parent["ref"] for parent in job.parents if parent.get("omitted")]
        with pytest.raises(ResultUnavailableError, match=r"await job\.results_of\('c'\)"):
            list(job.results.values())
        assert job.results["n"] is None
        assert await job.results_of("c") == {"c": "c" * 4_000_000}
        with pytest.raises(KeyError):
            await job.results_of("d")
        return sum(len(result or "") for result in (await job.results_of()).values())

    @queue.handler("plain join")
    def plain_join(job: Any) -> int:
        assert job.results_of("c") == {"c": "c" * 4_000_000}
        return sum(len(result or "") for result in job.results.values())

    parts = [Member(job=NewJob(type="part", data={"letter": ref}), ref=ref) for ref in "abc"]
    parts.append(Member(job=NewJob(type="none"), ref="n"))
    joins = [Member(job=NewJob(type=kind, attempts=1), after=tuple("abcn")) for kind in ("join", "plain join")]
    async with queue.working():
        _, added = await queue.add_batch(NewBatch(members=[*parts, *joins]))
        for one in added[-2:]:

            async def has_ended(job_id: str = one.id) -> bool:
                return (await queue.get(job_id)).state in FINAL

            await eventually(has_ended, within=60)
            job = await queue.get(one.id)
            assert (job.state, job.result) == (State.SUCCESS, 12_000_000), job.error
    assert seen == {"omitted": ["c"]}


async def test_a_result_whose_job_was_deleted_by_a_person_is_never_missing_in_silence(queue: JobQueue) -> None:
    first = await queue.add("first")
    second = await queue.add("second")
    runtime = await queue.open()
    last = await queue.add("last", depends_on=[first.id, second.id])
    for _ in range(2):
        await succeed(runtime, await claim(runtime), 1)
    await queue.delete(first.id)
    claimed = await claim(runtime)
    assert claimed.job.id == last.id
    assert (claimed.job.parents or ())[0] == {"id": first.id, "deleted": True}
    results = Results(claimed.job.parents or ())
    assert results[second.id] == 1
    with pytest.raises(ResultUnavailableError, match="deleted"):
        sum(results.values())


async def test_two_jobs_with_one_ref_both_count(idle_runtime: Runtime) -> None:
    ids = [await create(idle_runtime, step("part")) for _ in range(2)]
    await add(idle_runtime, "join", depends_on=[one["part"] for one in ids])
    for number in range(2):
        await succeed(idle_runtime, await claim(idle_runtime), number + 1)
    results = Results((await claim(idle_runtime)).job.parents or ())
    assert dict(results) == {"part": 1, ids[1]["part"]: 2}


async def test_a_waiting_job_that_is_deleted_keeps_nobody_waiting(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("a"), step("b", "a"), step("c"))
    await idle_runtime.manager.delete(ids["a"])
    assert await states(idle_runtime, ids) == {"b": "killed", "c": "pending"}
    await idle_runtime.manager.delete(ids["c"])
    assert (await idle_runtime.batches.get(ids["batch"])).batch.state == "finished"


async def test_a_batch_is_finished_by_the_next_who_looks_if_whoever_sealed_it_crashed(idle_runtime: Runtime) -> None:
    view, _ = await idle_runtime.batches.create(NewBatch(sealed=False, on_complete=NewJob(type="done")))
    await idle_runtime.batches._store.seal(view.batch.id)
    await idle_runtime.outboxes.run_once()
    found = await idle_runtime.batches.get(view.batch.id)
    assert (found.batch.state, found.batch.outbox) == ("finished", ())
    assert await _callbacks(idle_runtime, view.batch.id) == 1
    empty = await idle_runtime.batches._store.create("e" * 24, NewBatch(on_complete=NewJob(type="done")), [])
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.batches.get(empty.id)).batch.state == "finished"


async def test_a_running_job_adds_jobs_that_a_waiting_one_waits_for_too(queue: JobQueue) -> None:
    seen: list[Any] = []

    @queue.handler("split")
    async def split(job: Any) -> int:
        end = job.data["end"]
        await job.add("part", {"n": 0}, ref="part0", blocks=[end])
        parts = [NewJob(type="part", data={"n": n}) for n in (1, 2)]
        more = await job.add_all([Member(job=one, ref=f"part{one.data['n']}", blocks=(end,)) for one in parts])
        return 1 + len(more)

    @queue.handler("part")
    def part(job: Any) -> int:
        return int(job.data["n"]) * 10

    @queue.handler("join")
    async def join(job: Any) -> None:
        seen.append(dict(job.results))

    runtime = await queue.open()
    ids = await create(runtime, step("split", delay=3600), step("join", "split"))
    await runtime.jobs.collection.update_one({"type": "split"}, {"$set": {"data": {"end": ids["join"]}}})
    await runtime.manager.requeue(ids["split"])
    async with queue.working():
        await eventually(lambda: seen)
        await eventually(lambda: _is_finished(queue, ids["batch"]))
    assert seen == [{"split": 3, "part0": 0, "part1": 10, "part2": 20}]


async def _is_finished(queue: JobQueue, batch_id: str) -> bool:
    return (await queue.batch(batch_id)).batch.state == "finished"


async def test_only_a_running_job_of_a_sealed_batch_adds_to_it(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("a"), step("b", "a"))
    running = await claim(idle_runtime)
    more = [Member(job=NewJob(type="x"))]
    with pytest.raises(ConflictError, match="sealed"):
        await idle_runtime.batches.add(ids["batch"], more)
    with pytest.raises(StaleTokenError):
        await idle_runtime.batches.add(ids["batch"], more, token="0" * 24)
    blocked = [Member(job=NewJob(type="x"), blocks=(running.job.id,))]
    with pytest.raises(ConflictError, match="waits for others"):
        await idle_runtime.batches.add(ids["batch"], blocked, token=running.token)
    added: list[AddedMember] = await idle_runtime.batches.add(ids["batch"], more, token=running.token)
    assert len(added) == 1
    await succeed(idle_runtime, running)
    with pytest.raises(StaleTokenError):
        await idle_runtime.batches.add(ids["batch"], more, token=running.token)


async def test_adding_while_the_last_job_ends_is_refused_or_keeps_the_batch_open(
    settings: Settings, idle_runtime: Runtime
) -> None:
    async with open_runtime(settings) as other:
        for _ in range(sized(25, 500)):
            view, _ = await idle_runtime.batches.create(
                NewBatch(members=(Member(job=NewJob(type="a")),), sealed=False, on_complete=NewJob(type="done"))
            )
            batch_id = view.batch.id
            running = await claim(idle_runtime)

            async def add_one(batch_id: str = batch_id) -> bool:
                try:
                    await other.batches.add(batch_id, [Member(job=NewJob(type="late"))])
                except ConflictError:
                    return False
                return True

            added, _, _ = await asyncio.gather(
                add_one(), idle_runtime.batches.seal(batch_id), succeed(idle_runtime, running)
            )
            assert await _callbacks(idle_runtime, batch_id) == (0 if added else 1)
            if added:
                late = await claim(idle_runtime)
                assert late.job.type == "late"
                await succeed(idle_runtime, late)
                assert await _callbacks(idle_runtime, batch_id) == 1
            await die(idle_runtime, await claim(idle_runtime))


async def _callbacks(runtime: Runtime, batch_id: str) -> int:
    found: list[Job] = [
        job
        for job in (await runtime.listing.page(JobQuery(type="done", limit=200))).items
        if (job.callback_of or {}).get("batchId") == batch_id
    ]
    return len(found)
