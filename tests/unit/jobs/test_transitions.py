from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.attempt import Retries
from jobqueue.domain.attempts.states import FINAL, LEGAL, UNFINISHED, WAITING, Outcome, State
from jobqueue.domain.durations import LONGEST
from jobqueue.domain.errors import WrongStateError
from jobqueue.domain.jobs import transitions
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.transitions import SHORTEST_RETRY, UNSET, Transition
from tests.unit.jobs.domain_strategies import ERROR, HUGE, LONG_AGO, backoffs, chances, make_job, modest

if TYPE_CHECKING:
    from jobqueue.domain.attempts.backoff import Backoff

TOKEN = "t" * 24
MOST = 20
CHILD = NewJob(type="child")
attempts = st.integers(1, 10_000)


def looping(count: int) -> dict[str, Any]:
    """Return the fields of a job that has just gone back so often."""
    return {"start_at": LONG_AGO + timedelta(seconds=1), "retries": Retries(count=count, at=LONG_AGO)}


def every_report(**changes: Any) -> list[Transition]:
    """Return every transition that a worker, the reaper or a person may ask for a job being processed."""
    job = make_job(**changes)
    made = [
        transitions.succeed(job, TOKEN, {"n": 1}, code=200),
        transitions.succeed(job, TOKEN, None),
        transitions.die(job, TOKEN, ERROR, code=65),
        transitions.release(TOKEN),
        transitions.kill(job, ERROR),
    ]
    made += [transitions.retry(job, TOKEN, delay=delay, error=None, most=MOST) for delay in (None, 0, 0.5, 3600)]
    made.append(transitions.retry(make_job(**changes, **looping(MOST)), TOKEN, delay=5, error=ERROR, most=MOST))
    made += [
        transitions.fail(job, TOKEN, ERROR, chance=0.5, outcome=outcome, expired_only=expired)
        for outcome, expired in ((Outcome.FAIL, False), (Outcome.HANGING, True), (Outcome.TIMEOUT, True))
    ]
    return made


@pytest.mark.parametrize("source", State)
@pytest.mark.parametrize("target", State)
def test_only_legal_transitions_can_be_made(source: State, target: State) -> None:
    def make() -> Transition:
        token = TOKEN if source is State.PROCESSING else None
        return Transition(source=source, target=target, outcome=Outcome.KILL, token=token)

    if target in LEGAL[source]:
        assert make().target is target
    else:
        with pytest.raises(ValueError, match="may not become"):
            make()


@pytest.mark.parametrize("source", State)
def test_a_token_guards_exactly_the_transitions_of_a_processing_job(source: State) -> None:
    target = next(iter(LEGAL[source]))
    wrong = None if source is State.PROCESSING else TOKEN
    with pytest.raises(ValueError, match="claim token guards"):
        Transition(source=source, target=target, outcome=Outcome.KILL, token=wrong)


def test_states_are_final_waiting_or_processing_and_no_two_of_them() -> None:
    assert set(State) == FINAL | UNFINISHED
    assert not FINAL & UNFINISHED
    assert {State.PROCESSING} == UNFINISHED - WAITING
    assert set(LEGAL) == set(State)
    assert all(source not in targets for source, targets in LEGAL.items())


def test_only_pending_jobs_are_claimed_and_ended_ones_only_start_anew() -> None:
    assert [source for source in State if State.PROCESSING in LEGAL[source]] == [State.PENDING]
    assert all(State.PENDING in LEGAL[source] <= WAITING for source in FINAL)


@modest
@given(attempts, attempts, backoffs, chances)
def test_a_failed_attempt_ends_the_job_exactly_when_none_is_left(
    made: int, allowed: int, backoff: Backoff, chance: float
) -> None:
    job = make_job(attempts_made=made, attempts=allowed, backoff=backoff)
    change = transitions.fail(job, TOKEN, ERROR, chance=chance)
    assert (change.target is State.FAILED) == (made >= allowed)
    if change.target is State.DELAYED:
        assert change.delay == backoff.seconds(made, chance=chance)
        assert change.delay > 0
    else:
        assert change.delay is None
    assert not change.refund


@modest
@given(st.none() | st.floats() | st.integers(-(10**400), 10**400) | st.sampled_from([True, "5", [], HUGE, -HUGE]))
def test_a_retry_is_not_counted_and_comes_back_after_a_second_at_the_earliest(delay: Any) -> None:
    change = transitions.retry(make_job(), TOKEN, delay=delay, error=ERROR, most=MOST)
    assert (change.target, change.outcome, change.refund) == (State.DELAYED, Outcome.RETRY, True)
    assert change.delay is not None
    assert SHORTEST_RETRY <= change.delay <= LONGEST
    if isinstance(delay, float | int) and not isinstance(delay, bool) and SHORTEST_RETRY <= delay <= LONGEST:
        assert change.delay == delay


@pytest.mark.parametrize(
    ("last", "began", "count"),
    [(None, 0, 1), (0, 1, 8), (0, 10, 8), (0, 10.001, 1), (0, 3600, 1), (0, 0, 7), (5, 0, 8)],
    ids=["first", "soon", "just", "later", "much later", "same run", "clock set back"],
)
def test_retries_are_counted_as_long_as_each_run_begins_soon_after_the_one_before(
    last: float | None, began: float, count: int
) -> None:
    retries = None if last is None else Retries(count=7, at=LONG_AGO + timedelta(seconds=last))
    job = make_job(start_at=LONG_AGO + timedelta(seconds=began), retries=retries)
    assert transitions.retry(job, TOKEN, delay=5, error=ERROR, most=MOST).retries == count


def test_a_job_that_goes_back_too_often_fails_whatever_attempts_remain() -> None:
    loop = looping(MOST - 1)
    assert transitions.retry(make_job(**loop), TOKEN, delay=5, error=ERROR, most=MOST).target is State.DELAYED
    job = make_job(attempts=50, attempts_made=1, on_failure=CHILD, **looping(MOST))
    change = transitions.retry(job, TOKEN, delay=5, error=ERROR, code=75, most=MOST)
    assert (change.target, change.outcome, change.refund, change.delay) == (State.FAILED, Outcome.FAIL, False, None)
    assert (change.outbox, change.code) == (("children",), 75)
    assert change.error is not None
    assert (change.error.kind, change.error.trace) == ("endless", ERROR.trace)
    assert change.error.message == (
        f"retried 21 times in a row, uncounted, each time within 10 s of the last; the last reason was: {ERROR.message}"
    )
    assert change.fingerprint
    silent = transitions.retry(job, TOKEN, delay=None, error=None, most=MOST)
    assert silent.error is not None
    assert silent.error.message.endswith("of the last")


def test_a_release_gives_the_job_back_uncounted_and_says_nothing_else() -> None:
    change = transitions.release(TOKEN)
    assert (change.target, change.refund, change.delay, change.error) == (State.PENDING, True, None, None)
    assert change.result is UNSET


def test_a_result_of_none_is_a_result() -> None:
    assert transitions.succeed(make_job(), TOKEN, None).result is None
    assert all(one.result is UNSET for one in every_report() if one.target is not State.SUCCESS)


def test_only_the_reaper_asks_for_the_lease_to_have_ended() -> None:
    guarded = [one.outcome for one in every_report() if one.expired_only]
    assert guarded == [Outcome.HANGING, Outcome.TIMEOUT]


def test_a_person_can_kill_whatever_has_not_ended() -> None:
    waiting = transitions.kill(make_job(state=State.PENDING, claim=None), ERROR)
    assert (waiting.source, waiting.token) == (State.PENDING, None)
    delayed = transitions.kill(make_job(state=State.DELAYED, claim=None), ERROR)
    assert (delayed.source, delayed.token) == (State.DELAYED, None)
    job = make_job()
    assert job.claim is not None
    processing = transitions.kill(job, ERROR)
    assert (processing.source, processing.token) == (State.PROCESSING, job.claim.token)
    assert {one.target for one in (waiting, delayed, processing)} == {State.KILLED}


@pytest.mark.parametrize("ended", sorted(FINAL))
def test_what_has_ended_cannot_be_killed(ended: State) -> None:
    with pytest.raises(WrongStateError) as caught:
        transitions.kill(make_job(state=ended, claim=None), ERROR)
    assert (caught.value.state, caught.value.verb) == (ended, "killed")


@pytest.mark.parametrize(
    ("complete", "success", "failure", "delete"),
    list(itertools.product([None, CHILD], [None, (CHILD,)], [None, CHILD], [True, False])),
)
def test_the_outbox_holds_what_has_to_follow_and_only_of_an_ended_job(
    complete: Any,
    success: Any,
    failure: Any,
    delete: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    for change in every_report(
        attempts=1, on_complete=complete, on_success=success, on_failure=failure, on_success_delete=delete
    ):
        succeeded = change.target is State.SUCCESS
        ended = change.target in FINAL
        fires = ended and (complete or (success if succeeded else failure))
        assert ("children" in change.outbox) == bool(fires)
        assert ("delete" in change.outbox) == (succeeded and delete)
        assert len(change.outbox) == len(set(change.outbox))


def test_every_transition_of_a_processing_job_carries_its_token() -> None:
    assert all(one.token for one in every_report())
    assert all(one.target in LEGAL[State.PROCESSING] for one in every_report())
