"""The job as webhooks and commands get it."""

from __future__ import annotations

from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.step import Step, StepKind
from jobqueue.processors.reported_steps import job_with_results
from tests.support.memory_steps import MemorySteps
from tests.unit.jobs.domain_strategies import LONG_AGO, make_job


def test_a_job_has_results_by_name_and_the_names_of_those_without_room() -> None:
    job = make_job(
        steps=(
            Step(name="fetch", end_at=LONG_AGO, result={"rows": 3}),
            Step(name="large", end_at=LONG_AGO, stored=True, has_result=False),
            Step(name="rest", kind=StepKind.SLEEP, until=LONG_AGO, has_result=False),
        )
    )
    steps = MemorySteps()
    steps.results = {"fetch": {"rows": 3}}
    more = {"steps": {"fetch": {"rows": 3}}, "omittedSteps": ["large"]}
    assert job_with_results(job, steps) == json_form.job(job) | more
    assert job_with_results(make_job(), MemorySteps()) == json_form.job(make_job()) | {"steps": {}}
