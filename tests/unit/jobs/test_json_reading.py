"""Jobs come out of JSON as they were."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form, json_reading
from jobqueue.domain.jobs.job import Job, NewJob
from jobqueue.domain.jobs.late import PartialJob
from jobqueue.domain.steps.signal import Signal
from jobqueue.domain.steps.step import Step, StepKind, Wait
from tests.unit.jobs.domain_strategies import JOB_ID, LONG_AGO, backoffs, datas, make_job, modest, new_jobs, values

if TYPE_CHECKING:
    from jobqueue.domain.attempts.backoff import Backoff

ERROR = JobError(kind="Boom", message="it broke", trace="…", step="fetch")


@modest
@given(new_jobs(), backoffs, datas, values())
def test_any_job_comes_back(new: NewJob, backoff: Backoff, data: dict[str, Any], result: Any) -> None:
    job = make_job(data=data, result=result, backoff=backoff, on_complete=new, key=new.key, on_success=(new, new))
    shown = json.loads(json.dumps(json_form.job(job)))
    assert json_reading.job(shown) == job
    assert json_reading.new_job(json.loads(json.dumps(json_form.new_job(new)))) == new


def full(job: Job) -> Job:
    """Return a job that has every part that a job may have."""
    return replace(
        job,
        state=State.PROCESSING,
        claim=Claim(token="t", worker="w", step="fetch"),  # noqa: S106 - of a claim
        error=ERROR,
        logs=(LogLine(t=LONG_AGO, m="line", level="info", attempt=1),),
        history=(
            Attempt(
                attempt=1,
                token="t",  # noqa: S106 - of a claim
                worker="w",
                start_at=LONG_AGO,
                end_at=LONG_AGO,
                outcome=Outcome.SUSPEND,
                error=ERROR,
                code=75,
                late={"outcome": "fail"},
                was={"priority": 3},
                operation=JOB_ID,
                steps=("fetch",),
                forgot=("more",),
            ),
            Attempt(attempt=0),
        ),
        steps=(
            Step(name="fetch", start_at=LONG_AGO, end_at=LONG_AGO, attempt=1, tries=2, result={"rows": 3}),
            Step(name="rest", kind=StepKind.SLEEP, until=LONG_AGO, has_result=False),
            Step(name="never", kind=StepKind.SIGNAL, end_at=LONG_AGO, has_result=False, error=ERROR),
            Step(name="map", kind=StepKind.MAP, stored=True, job_ids=7, has_result=False),
        ),
        wait=Wait(names=("rest",), until=LONG_AGO, signals=("approved",), jobs=3, doubt="pay"),
        signals=(
            Signal(id="1", name="approved", value=True, at=LONG_AGO, by="ann"),
            Signal(id="2", name="approved", at=LONG_AGO, taken="approved", stored=True, has_value=False),
        ),
        on_success=(NewJob(type="a", delay_til=LONG_AGO), NewJob(type="b", on_failure=NewJob(type="c"))),
        on_failure=NewJob(type="d", backoff=[1, 2]),  # type: ignore[arg-type]
        parents=({"id": JOB_ID, "type": "a", "state": "success", "result": 1},),
        callback_of={"batchId": JOB_ID, "event": "success", "generation": 0, "counts": {}},
        ref="ref",
        schedule="nightly",
        scheduled_at=LONG_AGO,
        crashes=2,
    )


def test_every_part_of_a_job_comes_back() -> None:
    filled = full(make_job())
    back = json_reading.job(json.loads(json.dumps(json_form.job(filled))))
    for name in ("claim", "error", "logs", "history", "steps", "wait", "signals", "parents", "callback_of"):
        assert getattr(back, name) == getattr(filled, name), name
    for name in ("on_success", "on_failure", "ref", "schedule", "scheduled_at", "crashes"):
        assert getattr(back, name) == getattr(filled, name), name


def test_hidden_tokens_and_missing_parts_are_empty() -> None:
    shown = json_form.without_tokens(json_form.job(full(make_job())))
    hidden = json_reading.job(shown)
    assert (hidden.claim and hidden.claim.token, hidden.history[0].token) == ("", None)
    for name in ("result", "logs", "history"):
        del shown[name]
    partial = json_reading.job(shown)
    assert (type(partial), partial.result, partial.logs, partial.history) == (PartialJob, None, (), ())


def test_new_jobs_come_back() -> None:
    moment = datetime(2040, 1, 2, tzinfo=UTC)
    inner = NewJob(type="inner", delay_til=moment, key="k", depends_on=[JOB_ID])
    new = NewJob(type="a", queue="q", data={"n": 1}, delay=3, on_complete=inner, on_success=(inner, inner))
    form: Any = json.loads(json.dumps(json_form.new_job(new)))
    assert json_reading.new_job(form) == new
    with pytest.raises(InvalidInputError):
        json_reading.new_job({"type": ""})
