"""From a new job to its document, to the job, to JSON: nothing is lost and nothing changes on the way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import CodecOptions, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.access.masking import MASK
from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues import queue_form
from jobqueue.domain.queues.queue import QueueConfig, read_stored
from jobqueue.domain.work.processing import CommandConfig, WebhookConfig
from jobqueue.store.documents import documents
from tests.unit.jobs.domain_strategies import JOB_ID, LONG_AGO, backoffs, garbage, make_job, modest, moments, new_jobs

if TYPE_CHECKING:
    from jobqueue.domain.attempts.backoff import Backoff
    from jobqueue.domain.jobs.job import Job

DATES: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)
NAMES = [
    *("id", "queue", "type", "data", "meta", "priority", "attempts", "attemptsMade", "backoff", "delay", "lease"),
    *("timeout", "insertAt", "startAt", "endAt", "delayTil", "resetAt", "batchId", "parentId", "dependsOn", "progress"),
    *("logs", "result", "error", "history", "state", "onSuccessDelete", "onComplete", "onSuccess", "onFailure"),
    *("key", "claim"),
]
STORED = sorted({*NAMES, "run", "logCount", "attrs"} - {"id"})
GIVEN = [
    *("type", "data", "meta", "priority", "attempts", "backoff", "delay", "lease", "timeout", "key"),
    *("onComplete", "onSuccess", "onFailure", "onSuccessDelete", "result", "progress"),
]


def stored(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document as MongoDB would give it back."""
    return bson.decode(bson.encode(document), codec_options=DATES)


def document_of(new: NewJob) -> dict[str, Any]:
    return documents.new_document(QueueConfig().fill(new), job_id=JOB_ID, now=LONG_AGO)


def job_of(new: NewJob) -> Job:
    return documents.job(stored(document_of(new)))


@modest
@given(new_jobs(levels=1))
def test_a_stored_job_has_every_field_as_it_was_given(new: NewJob) -> None:
    job = job_of(new)
    filled = QueueConfig().fill(new)
    same = [*("type", "queue", "data", "meta", "priority", "attempts", "backoff", "lease", "timeout", "key")]
    same += ["on_success_delete", "on_complete", "on_success", "on_failure"]
    assert {name: getattr(job, name) for name in same} == {name: getattr(filled, name) for name in same}
    assert job.delay == (new.delay or 0)
    due = new.delay_til or (LONG_AGO + timedelta(seconds=new.delay) if new.delay else None)
    assert job.state is (State.DELAYED if due and due > LONG_AGO else State.PENDING)
    if due:
        assert job.delay_til is not None
        assert abs(job.delay_til - due) < timedelta(milliseconds=1)


@modest
@given(new_jobs(levels=2))
def test_children_come_back_as_they_were_given_whatever_their_depth(child: NewJob) -> None:
    assert job_of(NewJob(type="parent", on_complete=child)).on_complete == child
    assert job_of(NewJob(type="parent", on_failure=(child, child))).on_failure == (child, child)


@modest
@given(new_jobs(levels=1))
def test_a_job_in_json_has_the_documented_fields_and_is_json(new: NewJob) -> None:
    shown = json_form.job(job_of(new))
    assert sorted(shown) == sorted(NAMES)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


@modest
@given(new_jobs(levels=1, dated=False))
def test_a_new_job_comes_back_from_its_json(new: NewJob) -> None:
    shown = json.loads(json.dumps(json_form.new_job(new)))
    assert NewJob(**json_form.snake_children(shown)) == new


def test_the_json_of_a_job_is_in_camel_case_with_dates_in_iso_8601() -> None:
    end = datetime(2026, 1, 2, 3, 4, 5, 6_999, tzinfo=timezone(timedelta(hours=2)))
    error = JobError(kind="Boom", message="it broke")
    traced = JobError(kind="Boom", message="it broke", trace="at line 1")
    shown = json_form.job(
        make_job(
            end_at=end,
            error=error,
            logs=(LogLine(t=LONG_AGO, m="hello", level="info", attempt=1), LogLine(t=LONG_AGO, m="plain")),
            history=(
                Attempt(attempt=1, token="t", start_at=LONG_AGO, outcome=Outcome.FAIL, error=traced, code=500),  # noqa: S106 - no secret
                Attempt(attempt=1, outcome=Outcome.REQUEUE, was={"data": {"n": 1}}),
            ),
            claim=Claim(token="t", worker="w", own_lease=600),  # noqa: S106 - no secret
        )
    )
    assert shown["id"] == JOB_ID
    assert shown["endAt"] == "2026-01-02T01:04:05.006Z"
    assert shown["insertAt"] == "2020-01-02T03:04:05.678Z"
    assert shown["error"] == {"kind": "Boom", "message": "it broke"}
    assert shown["claim"] == {"token": "t", "worker": "w"}
    assert shown["logs"] == [
        {"t": "2020-01-02T03:04:05.678Z", "m": "hello", "level": "info", "attempt": 1},
        {"t": "2020-01-02T03:04:05.678Z", "m": "plain", "attempt": None},
    ]
    first, second = shown["history"]
    assert first == {
        "attempt": 1,
        "token": "t",
        "worker": None,
        "startAt": "2020-01-02T03:04:05.678Z",
        "endAt": None,
        "outcome": "fail",
        "error": {"kind": "Boom", "message": "it broke", "trace": "at line 1"},
        "code": 500,
    }
    assert (second["outcome"], second["was"]) == ("requeue", {"data": {"n": 1}})
    assert (shown["backoff"], shown["state"], shown["dependsOn"]) == (10, "processing", [])


def test_a_date_without_a_zone_is_utc_and_what_json_does_not_have_is_text() -> None:
    naive = datetime(2026, 1, 2)  # noqa: DTZ001 - what is tested
    assert json_form.date(naive) == "2026-01-02T00:00:00.000Z"
    given_values = {1: ObjectId(JOB_ID), "a": (naive, [b"x"])}
    assert json_form.value(given_values) == {"1": JOB_ID, "a": ["2026-01-02T00:00:00.000Z", ["b'x'"]]}


@pytest.mark.parametrize(("name", "json_name"), [("type", "type"), ("on_success_delete", "onSuccessDelete")])
def test_names_are_put_into_camel_case(name: str, json_name: str) -> None:
    assert json_form.camel(name) == json_name


processors = st.dictionaries(
    st.sampled_from(["*", "a", "b.c"]),
    st.just(CommandConfig(name="report"))
    | st.builds(
        WebhookConfig,
        url=st.just("https://example.com/hook"),
        secret=st.none() | st.just("whsec_" + "QUFB" * 8),
        headers=st.dictionaries(st.sampled_from(["X-One", "X-Two"]), st.text("abc ", max_size=5), max_size=2),
        timeout=st.integers(1, 3600),
    ),
    max_size=3,
)


@modest
@given(backoffs, st.booleans(), st.integers(1, 100), st.none() | st.integers(1, 100), processors)
def test_a_queue_configuration_comes_back_from_its_document(
    backoff: Backoff,
    paused: bool,  # noqa: FBT001 - drawn
    attempts: int,
    timeout: int | None,
    made: dict[str, Any],
) -> None:
    config = QueueConfig(backoff=backoff, paused=paused, attempts=attempts, timeout=timeout, processors=made)
    assert read_stored(stored(queue_form.queue(config, secrets=True))) == config
    shown = queue_form.queue(config)["processors"]
    assert "whsec_" not in json.dumps(shown)
    for kind, one in made.items():
        if isinstance(one, WebhookConfig):
            assert shown[kind].get("headers", {}) == dict.fromkeys(one.headers, MASK)


def test_a_job_somebody_wrote_by_hand_gets_the_defaults() -> None:
    job = documents.job({"_id": ObjectId(JOB_ID), "queue": "q", "type": "work", "state": "pending"})
    assert (job.queue, job.type, job.state, job.data, job.meta) == ("q", "work", State.PENDING, {}, {})
    assert (job.attempts, job.attempts_made, job.lease, job.timeout, job.priority) == (3, 0, 60, None, 0)
    assert (job.logs, job.history, job.claim, job.key, job.on_complete) == ((), (), None, None, None)


@modest
@given(st.sets(st.sampled_from(STORED)))
def test_missing_fields_do_not_make_a_document_unreadable(missing: set[str]) -> None:
    document = document_of(NewJob(type="work"))
    job = documents.job({name: value for name, value in document.items() if name not in missing})
    assert json_form.job(job)["id"] == JOB_ID


@modest
@given(st.dictionaries(st.sampled_from(GIVEN), garbage))
def test_odd_values_of_what_people_give_do_not_make_a_document_unreadable(odd: dict[str, object]) -> None:
    shown = json_form.job(documents.job(document_of(NewJob(type="work")) | odd))
    assert shown["id"] == JOB_ID
    assert isinstance(shown["attempts"], int)


@modest
@given(moments.filter(lambda moment: moment.year < 2100))
def test_the_id_of_a_child_follows_from_its_parent_its_run_and_its_place(moment: datetime) -> None:
    parent = make_job(end_at=moment)
    one = documents.child_id(parent, "onSuccess.0")
    assert one == documents.child_id(make_job(end_at=moment, attempts_made=9), "onSuccess.0")
    others = {
        documents.child_id(parent, "onSuccess.1"),
        documents.child_id(parent, "onComplete.0"),
        documents.child_id(make_job(end_at=moment, run=1), "onSuccess.0"),
        documents.child_id(make_job(end_at=moment, id=JOB_ID[::-1]), "onSuccess.0"),
    }
    assert len(others | {one}) == 5
    assert ObjectId(one).generation_time == moment.replace(microsecond=0)
