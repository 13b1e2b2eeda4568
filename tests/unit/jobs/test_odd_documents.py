"""A document somebody has changed with another tool is read as far as it goes, and disturbs nobody else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.store.documents import documents
from jobqueue.store.insight import job_stream

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = documents.new_document(QueueConfig().fill(NewJob(type="work")), job_id="a" * 24, now=NOW)
ENTRY = {"attempt": 1, "token": "t", "worker": "w", "startAt": NOW, "endAt": NOW, "outcome": "fail", "code": 1}
FULL = WHOLE | {
    "claim": {"token": "t", "worker": "w", "lease": 5},
    "error": {"kind": "k", "message": "m", "trace": "t"},
    "history": [ENTRY],
    "logs": [{"t": NOW, "m": "line", "level": "info", "attempt": 1}],
    "onComplete": {"type": "child"},
    "outbox": ["children"],
}

scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([NOW, DatetimeMS(2**60), ObjectId("b" * 24), "processing", "success", "children"]),
)
names = st.sampled_from(
    ["token", "worker", "type", "kind", "message", "trace", "t", "m", "outcome", "onSuccess", "base"]
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), values, max_size=4), st.booleans())
def test_whatever_the_fields_hold_there_is_a_job_that_can_be_shown(odd: dict[str, Any], full: bool) -> None:  # noqa: FBT001 - given by the strategy
    job = documents.job((FULL if full else {}) | odd | {"_id": ObjectId()})
    assert json_form.job(job)["id"] == job.id


@given(st.sampled_from(sorted(FULL)), st.sampled_from(["history", "logs", "claim", "error", "onComplete"]), values)
def test_whatever_the_parts_hold_the_rest_is_read(name: str, part: str, value: Any) -> None:
    inner = FULL[part][0] if isinstance(FULL[part], list) else FULL[part]
    changed = {**inner, **dict.fromkeys(inner, value)}
    job = documents.job(FULL | {part: [changed, value] if isinstance(FULL[part], list) else changed})
    assert json_form.job(job)["type"] == "work"
    assert documents.job({key: one for key, one in FULL.items() if key != name or key == "_id"}).id == "a" * 24


def test_what_is_as_it_should_be_is_read_as_it_is() -> None:
    job = documents.job(FULL)
    assert job.claim is not None
    assert (job.claim.token, job.claim.worker, job.claim.own_lease) == ("t", "w", 5)
    assert (job.history[0].token, job.history[0].code, job.history[0].start_at) == ("t", 1, NOW)
    assert (job.logs[0].m, job.logs[0].level, job.logs[0].attempt) == ("line", "info", 1)
    assert job.outbox == ("children",)
    assert job.on_complete == NewJob(type="child")


@pytest.mark.parametrize("told", ["Failed", ["pending"], {"a": 1}, 5, None])
def test_a_change_to_a_state_that_nobody_knows_breaks_no_stream_of_changes(told: object) -> None:
    change = {
        "_id": {"_data": "1"},
        "operationType": "update",
        "documentKey": {"_id": 1},
        "state": told,
        "wallTime": NOW,
    }
    assert job_stream._event(change).state in {None, State.PROCESSING}
    assert documents.state(told) is State.PENDING


def test_numbers_beyond_64_bit_become_the_largest_that_json_takes() -> None:
    odd = FULL | {"priority": 1e20, "attemptsMade": -1e30, "crashes": 1e20, "history": [ENTRY | {"attempt": 1e30}]}
    shown = json_form.job(documents.job(odd | {"logs": [{"t": NOW, "m": "line", "attempt": 1e30}]}))
    assert orjson.loads(orjson.dumps(shown))["priority"] == 2**63 - 1
    assert (shown["attemptsMade"], shown["history"][0]["attempt"]) == (-(2**63) + 1, 2**63 - 1)
