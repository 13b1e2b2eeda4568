"""The schemas of jobs describe exactly the JSON that `json_form` writes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from jobqueue.api.description.openapi import document
from jobqueue.api.route_table import ROUTES
from jobqueue.api.schemas.responses import BriefResponse, ErrorResponse, StepResponse
from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import Job, NewJob
from jobqueue.domain.steps.signal import Signal
from jobqueue.domain.steps.step import Step, StepKind, Wait
from tests.unit.jobs.domain_strategies import JOB_ID, LONG_AGO, make_job

COMPONENTS = document(ROUTES)["components"]
ERROR = JobError(kind="Boom", message="it broke", trace="at line 1", step="fetch")
ATTEMPT = Attempt(
    attempt=1,
    version="2.4.1",
    outcome=Outcome.FAIL,
    error=ERROR,
    code=500,
    late={"outcome": "success"},
    was={"data": {}},
    operation=JOB_ID,
    steps=("fetch",),
    forgot=("mail",),
)
STEPS = (
    Step(name="fetch", start_at=LONG_AGO, end_at=LONG_AGO, attempt=1, tries=2, result={"rows": 3}),
    Step(name="large", end_at=LONG_AGO, attempt=1, stored=True, has_result=False),
    Step(name="rest", kind=StepKind.SLEEP, until=LONG_AGO, has_result=False),
    Step(name="mail", tries=3, until=LONG_AGO, error=JobError(kind="Boom", message="it broke"), has_result=False),
)
FULL = make_job(
    error=ERROR,
    history=(ATTEMPT, Attempt(attempt=2)),
    logs=(LogLine(t=LONG_AGO, m="a", level="info", attempt=1), LogLine(t=LONG_AGO, m="b")),
    claim=Claim(token="t", worker="w"),  # noqa: S106 - no secret
    on_complete=NewJob(type="child"),
    on_success=(NewJob(type="child"),),
    dependency_policy="run",
    ref="a",
    callback_of={"batchId": JOB_ID, "event": "complete"},
    parents=({"id": JOB_ID, "type": "work", "state": "success", "result": [1]},),
    schedule="nightly",
    scheduled_at=LONG_AGO,
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    tracestate="vendor=1",
    crashes=1,
    start_before=LONG_AGO,
    erased={"at": LONG_AGO, "operation": JOB_ID, "logs": 3},
    steps=STEPS,
    wait=Wait(names=("rest",), until=LONG_AGO),
    signals=(
        Signal(id="1", name="approved", value={"by": "ann"}, at=LONG_AGO, by="ann"),
        Signal(id="2", name="approved", at=LONG_AGO, taken="approved", has_value=False),
        Signal(id="3", name="approved", at=LONG_AGO, stored=True, has_value=False),
    ),
)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Job, "Job"),
        (Attempt, "Attempt"),
        (Claim, "Claim"),
        (JobError, "Error"),
        (LogLine, "LogLine"),
        (Step, "Step"),
        (Wait, "Wait"),
        (Signal, "Signal"),
    ],
)
def test_a_schema_has_the_fields_of_its_json_form_in_their_order(kind: type[Any], name: str) -> None:
    names = [json_form.camel(item.name) for item in fields(kind) if item.name not in json_form.INTERNAL]
    assert list(COMPONENTS["schemas"][name]["properties"]) == names


@pytest.mark.parametrize("job", [FULL, make_job()], ids=["full", "bare"])
def test_a_job_in_json_is_as_its_schema_says(job: Job) -> None:
    schema = COMPONENTS["schemas"]["Job"]
    shown = json_form.job(job)
    Draft202012Validator({**schema, "components": COMPONENTS}).validate(shown)
    assert set(shown) == set(schema["properties"] if job is FULL else schema["required"])


def test_a_schema_writes_a_part_of_a_job_as_its_json_form_does() -> None:
    for job in (FULL, make_job()):
        whole = json_form.job(job)
        assert BriefResponse.of(job) == {name: whole[name] for name in BriefResponse.of(job)}
    finished = STEPS[0]
    assert StepResponse.of(finished) == json_form.job(make_job(steps=(finished,)))["steps"][0]
    assert ErrorResponse.of(ERROR) == json_form.error(ERROR)
    bare = JobError(kind="Boom", message="it broke")
    assert ErrorResponse.of(bare) == json_form.error(bare) == {"kind": "Boom", "message": "it broke"}


@pytest.mark.parametrize(
    "shown",
    [
        {"error": {"message": "x"}},
        {"error": None},
        {"claim": {"worker": "w"}},
        {"history": [{"error": {"kind": "x"}}, {"outcome": None}]},
        {"steps": [{"name": "fetch"}]},
        {"logs": [{"m": "x"}]},
        {"wait": {"signals": ["approved"]}},
        {"signals": [{"name": "approved"}]},
    ],
    ids=str,
)
def test_a_list_may_show_some_fields_of_the_objects_in_a_job(shown: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/PartialJob", "components": COMPONENTS}
    Draft202012Validator(schema).validate({"id": "a" * 24, **shown})
