"""The limit of a job's start in all the forms that bring it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobqueue.api.jobs.new_jobs import new_job
from jobqueue.cli.render import values
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.external import documents as external
from jobqueue.domain.jobs import json_form, json_reading
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.domain.work.calls import read_call
from jobqueue.store.documents import documents

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEXT = "2030-01-01T00:00:00.000Z"


@pytest.mark.parametrize(("limit", "form"), [(NOW, TEXT), (900, 900), (1.5, 1.5)])
def test_a_limit_stays_what_it_is_on_every_way(limit: Any, form: Any) -> None:
    new = NewJob(type="a", start_before=limit, on_failure=NewJob(type="b", start_before=limit))
    shown = json_form.new_job(new)
    assert (shown["startBefore"], shown["onFailure"]["startBefore"]) == (form, form)
    read = [json_reading.new_job(shown), new_job(shown), values.new_job(shown, "line 1")]
    assert all(one == new for one in read)
    assert documents.children_of(documents.plain(new), "onFailure") == new
    alone = {"type": "a", "startBefore": form}
    assert read_call(alone, json_form.snake_children).jobs == (NewJob(type="a", start_before=limit),)
    external_one = external.read(alone, 0).new
    assert external_one is not None
    assert external_one.start_before == limit


@pytest.mark.parametrize("wrong", ["soon", "2030-01-01T00:00", True, 0, 0.5, -1, float("nan"), 1e12, [], {}])
def test_other_values_are_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        NewJob(type="a", start_before=wrong)
    assert list(caught.value.problems) == ["startBefore"]
    with pytest.raises(InvalidInputError) as caught:
        new_job({"type": "a", "startBefore": wrong})
    assert list(caught.value.problems) == ["startBefore"]
    with pytest.raises(InvalidInputError, match="startBefore"):
        QueueConfig(start_before=wrong)


def test_a_naive_date_and_a_date_before_the_job_is_due_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="startBefore: must have a time zone"):
        NewJob(type="a", start_before=NOW.replace(tzinfo=None))
    with pytest.raises(InvalidInputError, match="startBefore: is before delayTil"):
        NewJob(type="a", start_before=NOW, delay_til=NOW + timedelta(seconds=1))
    assert NewJob(type="a", start_before=NOW, delay_til=NOW).start_before == NOW


def test_a_schedule_takes_seconds_only() -> None:
    with pytest.raises(InvalidInputError, match=r"job\.startBefore"):
        Schedule(name="s", job=NewJob(type="a", start_before=NOW), recurrence=Every(seconds=60))
    assert Schedule(name="s", job=NewJob(type="a", start_before=9), recurrence=Every(seconds=60)).job.start_before == 9


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"start_before": NOW}, NOW),
        ({"start_before": 60}, NOW + timedelta(seconds=60)),
        ({"start_before": 60, "delay": 10}, NOW + timedelta(seconds=70)),
        ({"start_before": 60, "delay_til": NOW + timedelta(days=1)}, NOW + timedelta(days=1, seconds=60)),
        ({"start_before": 60, "delay": 10, "depends_on": ["0" * 24]}, NOW + timedelta(seconds=70)),
        ({}, None),
    ],
)
def test_seconds_count_from_the_time_at_which_the_job_is_due(fields: Any, limit: datetime | None) -> None:
    made = documents.new_document(NewJob(type="a", lease=60, attempts=1, **fields), job_id="0" * 24, now=NOW)
    assert made.get("startBefore") == limit
    assert documents.job(made).start_before == limit
