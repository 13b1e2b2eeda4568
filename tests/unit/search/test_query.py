from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.query import MOST_LISTED, JobQuery
from tests.unit.jobs.domain_strategies import JOB_ID, garbage, make_job, modest, moments

ids = st.from_regex(r"[0-9a-f]{24}", fullmatch=True)
queries = st.builds(
    JobQuery,
    queue=st.none() | st.just("media"),
    type=st.none() | st.text(max_size=5),
    states=st.lists(st.sampled_from(State), unique=True, max_size=3).map(tuple),
    batch_id=st.none() | ids,
    meta=st.lists(st.tuples(st.sampled_from(["a", "a.b"]), st.text(max_size=5)), max_size=2).map(tuple),
    inserted_after=st.none() | moments,
    oldest_first=st.booleans(),
    limit=st.integers(1, MOST_LISTED),
)


def packed(place: object) -> str:
    """Return what looks like a cursor."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


@modest
@given(queries, moments, ids)
def test_a_cursor_leads_to_where_the_page_ended(query: JobQuery, moment: datetime, job_id: str) -> None:
    cursor = query.cursor(make_job(id=job_id, insert_at=moment))
    assert query.at(cursor) == replace(query, after=(moment, job_id))
    assert cursor.replace("-", "").replace("_", "").isalnum()


@modest
@given(queries, moments)
def test_the_next_page_may_be_of_another_size_and_have_a_cursor_of_its_own(query: JobQuery, moment: datetime) -> None:
    cursor = query.cursor(make_job(insert_at=moment))
    larger = replace(query, limit=MOST_LISTED).at(cursor)
    assert larger.at(larger.cursor(make_job(insert_at=moment))).after == (moment, JOB_ID)


@modest
@given(queries, queries)
def test_the_cursor_of_another_query_is_refused(query: JobQuery, other: JobQuery) -> None:
    cursor = query.cursor(make_job())
    if replace(other, limit=query.limit) == query:
        return
    with pytest.raises(InvalidInputError, match="cursor: is not a cursor of this listing"):
        replace(other, queue="another").at(cursor)


@modest
@given(st.text(st.characters(), max_size=60) | st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()))
def test_no_text_is_taken_for_a_cursor(text: str) -> None:
    with pytest.raises(InvalidInputError, match="cursor"):
        JobQuery().at(text)


json_garbage = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(JOB_ID) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@modest
@given(json_garbage | st.tuples(json_garbage, json_garbage, json_garbage) | st.tuples(json_garbage, st.just(JOB_ID)))
def test_no_json_is_taken_for_a_cursor(place: object) -> None:
    with pytest.raises(InvalidInputError, match="cursor"):
        JobQuery().at(packed(place))


def test_the_right_fingerprint_alone_makes_no_cursor() -> None:
    real = base64.urlsafe_b64decode(JobQuery().cursor(make_job()) + "==")
    moment, job_id, fingerprint = json.loads(real)
    assert JobQuery().at(packed([moment, job_id, fingerprint])).after is not None
    dates: list[Any] = ["x", None, [], 10**400, 1e300, float("nan"), float("-inf")]
    bad: list[Any] = [
        *([odd, job_id, fingerprint] for odd in dates),
        *([moment, odd, fingerprint] for odd in ("x", None, 5, JOB_ID[1:])),
        [moment, job_id],
        [moment, job_id, fingerprint, 1],
    ]
    for place in bad:
        with pytest.raises(InvalidInputError, match="cursor"):
            JobQuery().at(packed(place))
    with pytest.raises(InvalidInputError, match="cursor"):
        JobQuery().at(base64.urlsafe_b64encode(b"[" * 100_000).decode())


def test_no_cursor_is_the_first_page() -> None:
    assert JobQuery(queue="a").at(None) == JobQuery(queue="a")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"queue": "a b"}, "queue"),
        ({"batch_id": "x"}, "batchId"),
        ({"parent_id": ""}, "parentId"),
        ({"limit": 0}, "limit"),
        ({"limit": MOST_LISTED + 1}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"limit": None}, "limit"),
        ({"text": ""}, "q"),
        ({"text": "x" * 201}, "q"),
        ({"text": "a\0"}, "q"),
        ({"text": "\ud800"}, "q"),
        ({"type": "\ud800"}, "type"),
        ({"meta": (("a", "\ud800"),)}, "meta.a"),
        ({"meta": (("", "x"),)}, "meta."),
        ({"meta": (("a..b", "x"),)}, "meta.a..b"),
        ({"meta": (("$where", "x"),)}, "meta.$where"),
        ({"meta": (("a.$b", "x"),)}, "meta.a.$b"),
        ({"meta": (("a\0", "x"),)}, "meta.a\0"),
        ({"meta": ((".".join("abcdefghijk"), "x"),)}, "meta.a.b.c.d.e.f.g.h.i.j.k"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        JobQuery(**fields)
    assert list(caught.value.problems) == [path]


@modest
@given(st.sampled_from(["queue", "batch_id", "parent_id", "limit"]), garbage)
def test_garbage_raises_nothing_but_invalid_input_errors(name: str, value: object) -> None:
    fields: dict[str, Any] = {name: value}
    try:
        JobQuery(**fields)
    except InvalidInputError as error:
        assert error.problems  # noqa: PT017 - only some garbage is refused


def test_dates_far_away_keep_their_milliseconds() -> None:
    for moment in (datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC), datetime(1, 1, 1, 0, 0, 0, 1000, UTC)):
        query = JobQuery()
        assert query.at(query.cursor(make_job(insert_at=moment))).after == (moment, JOB_ID)
