"""Steps and suspensions in replies of webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobqueue.domain.attempts.attempt import Attempt, JobError
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.errors import StepError
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success, Suspension
from jobqueue.processors.webhooks import reply_steps
from jobqueue.processors.webhooks.replies import MOST_BODY, Reply, judge, steps
from jobqueue.processors.webhooks.signing import message_id
from tests.support.memory_steps import MemorySteps
from tests.unit.processors.webhook_receiver import make_job

NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)


def reply(status: int, body: bytes) -> Reply:
    return Reply(status=status, reason="Because", body=body)


@pytest.mark.parametrize("status", [200, 202, 404, 500])
@pytest.mark.parametrize(
    ("body", "delay", "names"),
    [
        (b'{"outcome": "suspend", "delay": 3600}', 3600, ()),
        (b'{"outcome": "suspend", "delay": "0.5", "name": null}', 0.5, ()),
        (b'{"outcome": "suspend", "delay": 0, "name": "rest"}', 0, ("rest",)),
    ],
)
def test_a_reply_suspends_whatever_its_status(status: int, body: bytes, delay: float, names: tuple[str, ...]) -> None:
    assert judge(reply(status, body), NOW) == Suspension(delay=delay, wait=Wait(names=names), code=status)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"outcome": "suspend"}', "neither a delay nor a signal"),
        (b'{"outcome": "suspend", "timeout": 5}', "neither a delay nor a signal"),
        (b'{"outcome": "suspend", "signal": "approved", "delay": 5}', "a delay and a signal"),
        (b'{"outcome": "suspend", "signal": 5}', "its signal must be text"),
        (b'{"outcome": "suspend", "signal": "approved", "timeout": -1}', "delay"),
        (b'{"outcome": "suspend", "delay": -1}', "delay"),
        (b'{"outcome": "suspend", "delay": NaN}', "delay"),
        (b'{"outcome": "suspend", "delay": "soon"}', "delay"),
        (b'{"outcome": "suspend", "delay": 1, "name": 5}', "its name must be text"),
        (b'{"outcome": "suspend", "delay": 1, "steps": {"a"', "no whole JSON"),
    ],
)
def test_a_suspension_that_cannot_be_used_is_a_failed_attempt(body: bytes, problem: str) -> None:
    verdict = judge(reply(200, body), NOW)
    assert isinstance(verdict, Failure)
    assert verdict.error.kind == "invalid-reply"
    assert problem in verdict.error.message


def test_a_suspension_that_is_too_long_is_a_failed_attempt() -> None:
    verdict = judge(reply(200, b'{"outcome": "suspend", "delay": 0, "steps": {"a": "' + b"x" * MOST_BODY), NOW)
    assert isinstance(verdict, Failure)
    assert verdict.error.kind == "too-large-reply"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"outcome": "suspend", "delay": 0, "steps": {"b": 1, "a": null}}', {"b": 1, "a": None}),
        (200, b'{"steps": {"a": 1}, "outcome": "success"}', {"a": 1}),
        (200, b'{"steps": {"a": 1}, "outcome": "fail", "reason": "cut sho', {"a": 1}),
        (500, b'{"steps": {"a": 1}, "outcome": "die"}', {"a": 1}),
        (500, b'{"steps": {"a": 1}, "outcome": "success"}', {"a": 1}),
        (202, b'{"steps": {"a": 1}}', {"a": 1}),
        (503, b'{"steps": {"a": 1}}', {"a": 1}),
        (404, b'{"steps": "of a page"}', {}),
        (200, b'{"steps": {"a": 1}}', {}),
        (200, b'{"steps": {"a": 1}, "outcome": "approved"}', {}),
        (302, b'{"steps": {"a": 1}}', {}),
        (200, b'{"outcome": "suspend", "delay": 0, "steps": null}', {}),
        (200, b'["steps"]', {}),
    ],
)
def test_steps_count_beside_a_decision_and_in_failures(status: int, body: bytes, expected: dict[str, Any]) -> None:
    reported = steps(reply(status, body))
    assert (reported, list(reported)) == (expected, list(expected))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"outcome": "retry", "steps": ["a"]}', "must be an object"),
        (b'{"outcome": "retry", "steps": {"a": 1, "a": 2}}', "'a' twice"),
    ],
)
def test_steps_in_a_wrong_form_are_refused(body: bytes, problem: str) -> None:
    with pytest.raises(StepError, match=problem):
        steps(reply(200, body))


@pytest.mark.parametrize("verdict", [Success(code=200), RunAgain(code=200), Suspension(delay=1, code=200)])
def test_a_step_that_cannot_be_kept_fails_the_attempt(verdict: Any) -> None:
    spoilt = reply_steps.spoilt(verdict, StepError("step 'a' cannot be kept"))
    assert spoilt == Failure(error=JobError(kind="step", message="step 'a' cannot be kept"), code=200)


def test_a_job_is_killed_though_a_step_cannot_be_kept() -> None:
    death = Death(error=JobError(kind="die", message="no such user"), code=200)
    spoilt = reply_steps.spoilt(death, StepError("step 'a' cannot be kept"))
    assert spoilt == Death(error=JobError(kind="die", message="no such user (step 'a' cannot be kept)"), code=200)


async def test_steps_are_kept_in_their_order_and_a_wait_of_a_finished_name_is_refused() -> None:
    kept = MemorySteps()
    suspended = Suspension(delay=60, wait=Wait(names=("rest",)), code=200)
    verdict = await reply_steps.keep(suspended, {"b": 1, "a": 2}, kept, seconds=1)
    assert list(kept.results) == ["b", "a"]
    assert verdict == Suspension(until=kept.entries["rest"].until, wait=Wait(names=("rest",)), code=200)
    with pytest.raises(StepError, match="'b' cannot begin: the step has finished"):
        await reply_steps.keep(Suspension(delay=60, wait=Wait(names=("b",))), {}, kept, seconds=1)


def test_the_identifier_changes_with_a_suspension_and_not_with_a_failure() -> None:
    def entry(outcome: Outcome, second: int) -> Attempt:
        moment = NOW.replace(second=second)
        return Attempt(attempt=1, token="t", worker="w", start_at=moment, end_at=moment, outcome=outcome)  # noqa: S106

    entries = (entry(Outcome.FAIL, 1), entry(Outcome.SUSPEND, 2), entry(Outcome.FAIL, 3), entry(Outcome.SUSPEND, 4))
    identifiers = [message_id(make_job(history=entries[:count])) for count in range(5)]
    assert identifiers[0] == identifiers[1] == f"msg_{make_job().id}_0"
    assert identifiers[2] == identifiers[3]
    assert len(set(identifiers)) == 3
