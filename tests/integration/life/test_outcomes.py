"""How attempts end, and that a worker whose claim is gone can change nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import NotFoundError, StaleTokenError
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success
from tests.support.data.factories import (
    ERROR,
    add,
    claim,
    claimed_job,
    die,
    document,
    end_lease,
    fail,
    job_in,
    retry,
    succeed,
)

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Verdict
    from jobqueue.services.application import Runtime

VERDICTS: list[Verdict] = [
    Success(result={"n": 2}),
    Failure(error=ERROR),
    Death(error=ERROR),
    RunAgain(delay=5, error=ERROR),
    RunAgain(),
]
NAMES = ["success", "fail", "die", "retry later", "retry soon"]


def wait_of(job: Job) -> float:
    """Return how long a delayed job was told to wait after its last attempt, in seconds."""
    ended = job.history[-1].end_at
    assert ended is not None
    assert job.delay_til is not None
    return (job.delay_til - ended).total_seconds()


def is_same_moment(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether two dates are of one write: the server reads its clock for each."""
    return one is not None and other is not None and abs(one - other) < timedelta(seconds=1)


async def make_due(runtime: Runtime, job: Job) -> None:
    await runtime.manager.patch(job.id, {"delay_til": None})


async def test_success_keeps_the_result_and_sets_progress_to_100(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.settle(claimed.job, claimed.token, Success(result={"ok": [1, None, "ä"]}, code=201))
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.result, job.progress, job.error) == (State.SUCCESS, {"ok": [1, None, "ä"]}, 100, None)
    assert (job.claim, job.reset_at, job.attempts_made) == (None, None, 1)
    (entry,) = job.history
    assert (entry.outcome, entry.code, entry.error) == (Outcome.SUCCESS, 201, None)
    assert is_same_moment(job.end_at, entry.end_at)
    assert job.end_at is not None
    assert job.start_at is not None
    assert job.start_at <= job.end_at


@pytest.mark.parametrize("result", [None, 0, "", [], {}, False, "$state", {"a.b": 1}])
async def test_any_result_comes_back_as_it_was(idle_runtime: Runtime, result: Any) -> None:
    job = await succeed(idle_runtime, await claimed_job(idle_runtime), result)
    assert job.state is State.SUCCESS
    assert job.result == result
    assert type(job.result) is type(result)


async def test_success_after_a_failure_clears_the_error_but_not_the_history(idle_runtime: Runtime) -> None:
    failed = await fail(idle_runtime, await claimed_job(idle_runtime, backoff=0))
    assert failed.state is State.PENDING
    assert failed.error == ERROR
    job = await succeed(idle_runtime, await claim(idle_runtime), 1)
    assert job.error is None
    assert [(one.attempt, one.outcome) for one in job.history] == [(1, Outcome.FAIL), (2, Outcome.SUCCESS)]
    assert job.history[0].error == ERROR


async def test_failures_wait_by_the_list_and_the_last_one_ends_the_job(idle_runtime: Runtime) -> None:
    await add(idle_runtime, attempts=4, backoff=[10, 60])
    for made, wait in ((1, 10), (2, 60), (3, 60)):
        job = await fail(idle_runtime, await claim(idle_runtime))
        assert (job.state, job.attempts_made, job.end_at) == (State.DELAYED, made, None)
        assert wait_of(job) == pytest.approx(wait, abs=0.002)
        assert await idle_runtime.work.claim("default", None, worker="w") is None
        await make_due(idle_runtime, job)
    job = await fail(idle_runtime, await claim(idle_runtime), JobError(kind="Last", message="straw"))
    assert (job.state, job.attempts_made, job.delay_til) == (State.FAILED, 4, None)
    assert job.error == JobError(kind="Last", message="straw")
    assert job.end_at is not None
    assert [one.outcome for one in job.history] == [Outcome.FAIL] * 4
    assert [one.attempt for one in job.history] == [1, 2, 3, 4]


async def test_exponential_waits_grow_up_to_their_limit(idle_runtime: Runtime) -> None:
    backoff = {"kind": "exponential", "base": 10, "factor": 3, "max": 50, "jitter": 0}
    await add(idle_runtime, attempts=9, backoff=backoff)
    waits = []
    for _ in range(4):
        job = await fail(idle_runtime, await claim(idle_runtime))
        waits.append(round(wait_of(job)))
        await make_due(idle_runtime, job)
    assert waits == [10, 30, 50, 50]


async def test_attempts_changed_meanwhile_do_not_hold_up_the_running_attempt(idle_runtime: Runtime) -> None:
    job = await fail(idle_runtime, await claimed_job(idle_runtime, attempts=5, backoff=3600))
    await idle_runtime.manager.patch(job.id, {"attempts": 1, "delay_til": None})
    job = await fail(idle_runtime, await claim(idle_runtime))
    assert (job.state, job.attempts_made) == (State.FAILED, 2)


async def test_a_retry_with_a_delay_is_not_counted(idle_runtime: Runtime) -> None:
    job = await retry(idle_runtime, await claimed_job(idle_runtime, attempts=1), delay=30)
    assert (job.state, job.attempts_made, job.error) == (State.DELAYED, 0, ERROR)
    assert wait_of(job) == pytest.approx(30, abs=0.002)
    await make_due(idle_runtime, job)
    job = await succeed(idle_runtime, await claim(idle_runtime))
    assert [(one.attempt, one.outcome) for one in job.history] == [(1, Outcome.RETRY), (1, Outcome.SUCCESS)]


async def test_a_retry_without_a_delay_comes_back_after_a_second(idle_runtime: Runtime) -> None:
    await add(idle_runtime)
    for _ in range(5):
        job = await retry(idle_runtime, await claim(idle_runtime))
        assert (job.state, job.attempts_made) == (State.DELAYED, 0)
        assert wait_of(job) == pytest.approx(1, abs=0.002)
        await make_due(idle_runtime, job)
    assert [one.outcome for one in job.history] == [Outcome.RETRY] * 5


async def test_a_death_ends_the_job_whatever_attempts_remain(idle_runtime: Runtime) -> None:
    job = await die(idle_runtime, await claimed_job(idle_runtime, attempts=10))
    assert (job.state, job.attempts_made, job.error) == (State.KILLED, 1, ERROR)
    assert job.end_at is not None
    assert job.history[0].outcome is Outcome.DIE


async def test_a_released_job_goes_back_uncounted_and_in_its_old_place(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    second = await add(idle_runtime)
    await idle_runtime.work.release(claimed.job, claimed.token)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.attempts_made, job.claim, job.reset_at) == (State.PENDING, 0, None, None)
    assert job.history[0].outcome is Outcome.RELEASE
    assert [(await claim(idle_runtime)).job.id for _ in range(2)] == [claimed.job.id, second.id]


async def test_an_entry_is_kept_for_every_start(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=2, backoff=0)
    await make_due(idle_runtime, await retry(idle_runtime, claimed))
    await idle_runtime.work.release(*_pair(await claim(idle_runtime)))
    await fail(idle_runtime, await claim(idle_runtime))
    job = await succeed(idle_runtime, await claim(idle_runtime))
    assert [(one.attempt, one.outcome) for one in job.history] == [
        (1, Outcome.RETRY),
        (1, Outcome.RELEASE),
        (1, Outcome.FAIL),
        (2, Outcome.SUCCESS),
    ]
    assert all(one.start_at and one.end_at and one.start_at <= one.end_at for one in job.history)
    assert len({one.token for one in job.history}) == 4


def _pair(claimed: Any) -> tuple[Job, str]:
    return claimed.job, claimed.token


@pytest.mark.parametrize("verdict", VERDICTS, ids=NAMES)
async def test_the_same_report_twice_has_no_second_effect(idle_runtime: Runtime, verdict: Verdict) -> None:
    claimed = await claimed_job(idle_runtime, attempts=5, backoff=100)
    await idle_runtime.work.settle(claimed.job, claimed.token, verdict)
    before = await document(idle_runtime, claimed.job.id)
    await idle_runtime.work.settle(claimed.job, claimed.token, verdict)
    assert await document(idle_runtime, claimed.job.id) == before


async def test_the_same_report_by_many_at_once_has_one_effect(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=5, backoff=0)
    failure = Failure(error=ERROR)
    await asyncio.gather(*(idle_runtime.work.settle(claimed.job, claimed.token, failure) for _ in range(20)))
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.attempts_made, len(job.history)) == (State.PENDING, 1, 1)


async def test_of_different_reports_at_once_exactly_one_counts(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=5, backoff=100)
    settled = await asyncio.gather(
        *(idle_runtime.work.settle(claimed.job, claimed.token, verdict) for verdict in VERDICTS[:4]),
        return_exceptions=True,
    )
    assert [type(one) for one in settled if isinstance(one, Exception)] == [StaleTokenError] * 3
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert len(job.history) == 1


async def test_a_success_is_not_undone_by_a_failure_reported_under_the_same_token(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await succeed(idle_runtime, claimed, {"n": 1})
    with pytest.raises(StaleTokenError, match="which is success"):
        await fail(idle_runtime, claimed)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.result, job.error) == (State.SUCCESS, {"n": 1}, None)
    late = job.history[0].late
    assert late is not None
    assert (late["outcome"], late["error"]["kind"]) == ("fail", "Boom")


async def lost_claim(runtime: Runtime, how: str) -> Any:
    """Return the claim of a worker that has lost its job."""
    claimed = await claimed_job(runtime, attempts=5, backoff=0)
    if how == "killed":
        await runtime.manager.kill(claimed.job.id)
    elif how == "released":
        await runtime.work.release(claimed.job, claimed.token)
    elif how == "failed":
        await fail(runtime, claimed)
    else:
        await fail(runtime, claimed)
        await claim(runtime, worker="next")
    return claimed


@pytest.mark.parametrize("how", ["killed", "released", "claimed again"])
@pytest.mark.parametrize("verdict", VERDICTS[:4], ids=NAMES[:4])
async def test_a_stale_worker_changes_nothing_and_its_report_is_kept_as_late(
    idle_runtime: Runtime, how: str, verdict: Verdict
) -> None:
    claimed = await lost_claim(idle_runtime, how)
    if how == "claimed again" and isinstance(verdict, Failure):
        return  # that is what it had reported, so that it is a repetition
    before = await document(idle_runtime, claimed.job.id)
    with pytest.raises(StaleTokenError, match=claimed.job.id):
        await idle_runtime.work.settle(claimed.job, claimed.token, verdict)
    after = await document(idle_runtime, claimed.job.id)
    late = after["history"][0].pop("late")
    assert after == before
    assert late["at"] >= before["history"][0]["startAt"]
    if isinstance(verdict, Success):
        assert (late["outcome"], late["result"]) == ("success", {"n": 2})
    else:
        assert late["error"]["message"] == "it broke"


async def test_a_late_report_is_kept_once(idle_runtime: Runtime) -> None:
    claimed = await lost_claim(idle_runtime, "killed")
    for number in range(3):
        with pytest.raises(StaleTokenError):
            await succeed(idle_runtime, claimed, number)
    late = (await idle_runtime.jobs.get(claimed.job.id)).history[0].late
    assert late is not None
    assert late["result"] == 0


async def test_a_large_late_result_is_kept_cut_short(idle_runtime: Runtime) -> None:
    claimed = await lost_claim(idle_runtime, "killed")
    with pytest.raises(StaleTokenError):
        await succeed(idle_runtime, claimed, {"text": "ä" * 1_000_000})
    late = (await idle_runtime.jobs.get(claimed.job.id)).history[0].late
    assert late is not None
    assert len(late["result"].encode()) <= 16 * 1024


@pytest.mark.parametrize("how", ["killed", "released", "failed", "claimed again"])
async def test_a_stale_worker_can_neither_heartbeat_nor_log(idle_runtime: Runtime, how: str) -> None:
    claimed = await lost_claim(idle_runtime, how)
    before = await document(idle_runtime, claimed.job.id)
    assert await idle_runtime.work.report(claimed.job, claimed.token) is None
    assert await idle_runtime.work.report(claimed.job, claimed.token, progress=50, lines=[("x", None)]) is None
    assert await document(idle_runtime, claimed.job.id) == before
    assert await idle_runtime.logs.lines(claimed.job.id) == []


async def test_a_token_the_job_never_had_leaves_no_trace(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    before = await document(idle_runtime, claimed.job.id)
    with pytest.raises(StaleTokenError):
        await idle_runtime.work.settle(claimed.job, "0" * 24, Success(result=1))
    assert await document(idle_runtime, claimed.job.id) == before


async def test_a_report_on_a_deleted_job_says_that_it_is_gone(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.manager.kill(claimed.job.id)
    await idle_runtime.manager.delete(claimed.job.id)
    with pytest.raises(NotFoundError):
        await succeed(idle_runtime, claimed)
    assert await idle_runtime.work.report(claimed.job, claimed.token) is None


@pytest.mark.parametrize("state", list(State))
async def test_a_job_in_any_unfinished_state_can_be_killed(idle_runtime: Runtime, state: State) -> None:
    job = await job_in(idle_runtime, state)
    if state in {State.SUCCESS, State.FAILED, State.KILLED}:
        with pytest.raises(Exception, match=f"is {state}: it cannot be killed"):
            await idle_runtime.manager.kill(job.id)
        return
    killed = await idle_runtime.manager.kill(job.id, "not needed")
    assert (killed.state, killed.error) == (State.KILLED, JobError(kind="killed", message="not needed"))
    assert killed.end_at is not None
    assert (killed.claim, killed.reset_at) == (None, None)
    if state is State.PROCESSING:
        assert killed.history[0].outcome is Outcome.KILL
        assert is_same_moment(killed.history[0].end_at, killed.end_at)
    assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_a_job_killed_while_it_hung_is_not_run_again(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=5, backoff=0)
    await end_lease(idle_runtime, claimed.job)
    await idle_runtime.manager.kill(claimed.job.id)
    assert await idle_runtime.jobs.expired(1e6) == []
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, len(job.history)) == (State.KILLED, 1)
    assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_killing_while_the_job_is_claimed_and_ends_leaves_it_in_one_final_state(idle_runtime: Runtime) -> None:
    for _ in range(20):
        job = await add(idle_runtime)

        async def work() -> None:
            claimed = await idle_runtime.work.claim("default", None, worker="w")
            if claimed is not None:
                await idle_runtime.work.settle(claimed.job, claimed.token, Success(result=1))

        await asyncio.gather(work(), idle_runtime.manager.kill(job.id), return_exceptions=True)
        ended = await idle_runtime.jobs.get(job.id)
        assert ended.state in {State.SUCCESS, State.KILLED}
        assert (ended.state is State.SUCCESS) == (ended.result == 1)
        assert (ended.state is State.KILLED) == (ended.error is not None)


async def test_a_heartbeat_extends_the_lease_from_now(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, lease=45)
    first = claimed.job.reset_at
    assert first is not None
    beat = await idle_runtime.work.report(claimed.job, claimed.token, progress=40)
    assert beat is not None
    assert first <= beat.reset_at < first + timedelta(seconds=30)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.reset_at, job.progress, job.state) == (beat.reset_at, 40, State.PROCESSING)
