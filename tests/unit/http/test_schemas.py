from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from multidict import MultiDict

from jobqueue.api.bulk.schemas import FailuresQuery
from jobqueue.api.insight.schemas import EventsQuery, StatsQuery
from jobqueue.api.jobs.new_jobs import MOST_JOBS, JobReader, new_job
from jobqueue.api.jobs.schemas import BulkSchema, JobsQuery, LogsQuery, PatchSchema
from jobqueue.api.queues.schemas import QueueSchema
from jobqueue.api.route_table import ROUTES
from jobqueue.api.schemas.fields import instance, load, sift
from jobqueue.api.schemas.queries import Query, Several
from jobqueue.api.schemas.queries import load as load_query
from jobqueue.api.work.schemas import HeartbeatSchema
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.values.iso8601 import LOST_PLUS, NO_DATE, NO_ZONE, moment

if TYPE_CHECKING:
    from jobqueue.api.http.route_spec import Route


def problems(given: dict[str, Any]) -> dict[str, list[str]]:
    with pytest.raises(InvalidInputError) as caught:
        new_job(given)
    return caught.value.problems


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("type", None, "must not be null"),
        ("type", 5, "must be text"),
        ("type", "", "1 to 200"),
        ("queue", "a.b", "letters, digits"),
        ("queue", ["a"], "must be text"),
        ("data", [], "must be an object"),
        ("data", None, "must not be null"),
        ("meta", "x", "must be an object"),
        ("priority", "5", "whole number"),
        ("priority", 5.0, "whole number"),
        ("priority", True, "whole number"),
        ("priority", 2**70, "must be from"),
        ("attempts", 0, "must be from 1"),
        ("attempts", None, "must not be null"),
        ("delay", -1, "must be from 0"),
        ("delay", "1", "must be a number"),
        ("lease", False, "must be a number"),
        ("lease", 0, "must be from"),
        ("timeout", "never", "must be a number"),
        ("backoff", "1m", "number of seconds"),
        ("backoff", True, "number of seconds"),
        ("delayTil", "tomorrow", "ISO 8601"),
        ("delayTil", 1, "ISO 8601"),
        ("delayTil", "0001-01-01T00:00:00+14:00", "ISO 8601"),
        ("key", 1, "must be text"),
        ("key", "", "1 to 500"),
        ("onSuccessDelete", 1, "true or false"),
        ("onSuccess", "b", "a job or a list"),
        ("on_success", {"type": "b"}, "not a known field"),
        ("state", "success", "not a known field"),
    ],
)
def test_a_wrong_value_is_refused_by_name(field: str, value: object, said: str) -> None:
    found = problems({"type": "a", field: value})
    assert list(found) == [field]
    assert said in found[field][0]


def test_one_answer_lists_all_mistakes_of_shape_and_value_children_included() -> None:
    found = problems(
        {
            "priority": "high",
            "attempts": 0,
            "data": {"a": [{"$where": 1}], "n": 2**64},
            "meta": {"a.b": 1},
            "onComplete": {"data": 5},
            "onSuccess": [{"type": "x"}, 5, {"type": "y", "onFailure": {"type": "z", "delay": -1}}],
            "extra": 1,
        }
    )
    assert set(found) == {
        *("type", "priority", "attempts", "data.a.0.$where", "data.n", "meta.a.b", "extra"),
        *("onComplete.type", "onComplete.data", "onSuccess.1", "onSuccess.2.onFailure.delay"),
    }


def test_children_keep_the_shape_they_were_given_in() -> None:
    made = new_job(
        {
            "type": "a",
            "onComplete": {"type": "b", "delayTil": "2030-01-01T01:00:00+01:00"},
            "onSuccess": [{"type": "c", "onSuccess": {"type": "d"}}],
            "onFailure": None,
        }
    )
    assert made.on_complete == NewJob(type="b", delay_til=datetime(2030, 1, 1, tzinfo=UTC))
    assert made.on_success == (NewJob(type="c", on_success=NewJob(type="d")),)
    assert made.on_failure is None


def test_children_nested_too_deep_are_refused_and_not_followed() -> None:
    given: dict[str, Any] = {"type": "a"}
    for _ in range(60):
        given = {"type": "a", "onSuccess": given}
    assert "deeper than 20" in next(iter(problems(given).values()))[0]


def test_the_jobs_of_one_request_are_limited_children_included() -> None:
    reader = JobReader()
    crowd = [{"type": "a", "onComplete": [{"type": "b"}] * 99}] * (MOST_JOBS // 100 + 1)
    for one in crowd[:-1]:
        reader.read(one, "jobs.0")
    with pytest.raises(InvalidInputError, match="10,000"):
        reader.read(crowd[-1], "jobs.100")
    assert problems({"type": "a", "onComplete": [{"type": "b"}] * 101})["onComplete"] == ["takes at most 100 jobs"]


def test_too_much_data_is_too_large_unless_something_else_is_wrong() -> None:
    large = {"type": "a", "data": {"x": "y" * (1024 * 1024)}}
    with pytest.raises(TooLargeError):
        new_job(large)
    assert list(problems({**large, "priority": "x"})) == ["priority"]


def test_problems_of_list_items_and_of_processors_have_dotted_paths() -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(HeartbeatSchema, {"token": "t", "logs": ["ok", 5, {"m": "x", "extra": 1}, {"level": "x"}]})
    assert set(caught.value.problems) == {"logs.1", "logs.2.extra", "logs.3.m"}
    with pytest.raises(InvalidInputError) as caught:
        load(QueueSchema, {"processors": {"v.x": {"kind": [], "a": 1}, "y": 5}, "rate": 1})
    assert set(caught.value.problems) == {*("processors.v.x.kind", "processors.v.x.a", "processors.y", "rate")}


def test_numbers_keep_their_kind_and_null_is_taken_where_a_job_can_have_it() -> None:
    loaded = load(PatchSchema, {"lease": 60, "timeout": None, "delayTil": None, "priority": 5})
    assert loaded == {"lease": 60, "timeout": None, "delay_til": None, "priority": 5}
    assert isinstance(loaded["lease"], int)
    assert load(BulkSchema, {"jobs": []}) == {"jobs": []}


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2030-01-31T12:00:00Z", 12),
        ("2030-01-31t12:00:00.123z", 12),
        ("2030-01-31 12:00Z", 12),
        ("2030-01-31T12:00:00+0200", 10),
        ("2030-01-31", 0),
    ],
)
def test_dates_are_iso_8601_and_a_day_begins_in_utc(text: str, hour: int) -> None:
    read = moment(text)
    assert (read.year, read.day, read.hour, read.tzinfo) == (2030, 31, hour, UTC)


@pytest.mark.parametrize(
    "text", ["", "2030", "2030-W01-1", "20300131", "2030-02-31", "2030-01-31T25:00", "now", 5, None]
)
def test_what_is_no_date_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=NO_DATE):
        moment(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2030-01-31T12:00:00", NO_ZONE),
        ("2030-01-31t12:00", NO_ZONE),
        ("2030-01-31 12:00:00.5", NO_ZONE),
        ("2030-02-31T12:00:00", NO_DATE),
        ("2030-01-31T12:00:00 02:00", LOST_PLUS),
        ("2030-01-31T12:00:00.123 0200", LOST_PLUS),
    ],
)
def test_a_time_without_a_zone_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        moment(text)


@pytest.mark.parametrize(
    ("schema", "query", "read"),
    [
        (JobsQuery, "state=failed&state=killed", {"states": (State.FAILED, State.KILLED)}),
        (JobsQuery, "state=failed,killed&state=failed&fields=id", {"states": (State.FAILED, State.KILLED)}),
        (JobsQuery, "fields=id&fields=data.n,type", {"fields_": ["id", "data.n", "type"]}),
        (EventsQuery, "state=failed&state=killed", {"states": (State.FAILED, State.KILLED)}),
        (FailuresQuery, "state=killed&state=failed", {"states": (State.KILLED, State.FAILED)}),
        (StatsQuery, "window=5m&window=1h", {"windows": ("5m", "1h")}),
        (LogsQuery, "level=error&level=warning", {"levels": ("error", "warning")}),
    ],
)
def test_a_list_may_have_commas_or_be_repeated(schema: type[Query], query: str, read: dict[str, Any]) -> None:
    loaded = load_query(schema, MultiDict(parse_qsl(query)))
    assert {name: loaded[name] for name in read} == read
    commas = {
        name: ",".join(inner for other, inner in parse_qsl(query) if other == name) for name, _ in parse_qsl(query)
    }
    assert load_query(schema, MultiDict(commas)) == loaded


QUERIES = [route for route in ROUTES if route.query is not None]


@pytest.mark.parametrize("route", QUERIES, ids=lambda route: f"{route.method} {route.path}")
def test_a_single_value_that_is_repeated_is_refused_by_its_name(route: Route) -> None:
    assert route.query is not None
    for field in route.query().fields.values():
        name = str(field.data_key)
        if isinstance(field, Several):
            continue
        with pytest.raises(InvalidInputError) as caught:
            load_query(route.query, MultiDict([(name, "?"), (name, "?")]))
        assert caught.value.problems[name] == ["is given more than once"]


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.body], ids=lambda route: f"{route.method} {route.path}"
)
def test_a_body_without_mistakes_is_read_as_marshmallow_reads_it(route: Route) -> None:
    assert route.body is not None
    schema, example = route.body.schema, route.body.example
    assert sift(schema, example) == (instance(schema).load(example), {})
    names = [field.data_key for field in instance(schema).load_fields.values()]
    for name in [*names, "no such field"]:
        # One mistake more, or a required field less: marshmallow says what is wrong.
        for body in (example | {name: object()}, {key: value for key, value in example.items() if key != name}):
            values, wrong = sift(schema, body)
            if not wrong:
                assert values == instance(schema).load(body)
