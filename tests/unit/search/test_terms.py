"""Queries as people type them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobqueue.domain.search.terms import LONGEST_QUERY, read_query

NOW = datetime(2031, 5, 8, 12, tzinfo=UTC)


def test_a_query_is_terms_filters_and_words() -> None:
    query = read_query(
        """queue=media,mail  state=failed time out meta.user_id=42 insertAt>=7d error.message~"time.?out \\"a\\" of" """
        """{"data.n": {"$gt": 5}} "a=b" it's""",
        NOW,
    )
    assert not query.problem
    assert query.words == "time out a=b it's"
    assert query.filter == {
        "$and": [
            {"queue": {"$in": ["media", "mail"]}},
            {"state": {"$eq": "failed"}},
            {"meta.user_id": {"$in": [42, "42"]}},
            {"insertAt": {"$gte": "2031-05-01T12:00:00.000Z"}},
            {"error.message": {"$regex": 'time.?out "a" of'}},
            {"data.n": {"$gt": 5}},
        ]
    }
    assert read_query(str(query), NOW).filter == query.filter
    assert str(query.without(*query.terms[1:])) == "queue=media,mail"


@pytest.mark.parametrize(
    ("text", "start", "reason"),
    [
        ("nosuch=1", 0, "is not a field that can be searched by"),
        ("queue=a insertAt>=yesterday b", 8, "'yesterday' is neither a time ago such as 2h nor a date"),
        ("x state=odd", 2, "must be one of pending"),
        ("type~(a+)+", 0, "repeats a group"),
        ('a {"x": ', 2, "is not JSON: "),
        ("{}x {", 4, "is not JSON: "),
        ('a type="b', 2, 'has no second "'),
        ("claim.token=x", 0, "is not a field"),
    ],
)
def test_an_unacceptable_term_is_found_where_it_is_and_the_others_hold(text: str, start: int, reason: str) -> None:
    query = read_query(text, NOW)
    (wrong,) = [term for term in query.terms if term.problem]
    assert (wrong.start, text[wrong.start :].startswith(wrong.raw)) == (start, True)
    assert reason in wrong.problem
    assert not query.problem
    assert all(term.problem or term.is_word or term.filter is not None for term in query.terms)


def test_a_query_is_bounded() -> None:
    assert "longer than" in read_query("x" * (LONGEST_QUERY + 1), NOW).problem
    assert "more than 20 terms" in read_query("type=a " * 21, NOW).problem
    assert "must be 1 to 200 characters" in read_query("x" * 201, NOW).problem
    assert "nested" in read_query('{"a":' * 300, NOW).terms[0].problem or read_query('{"a":' * 300, NOW).terms
    assert read_query(" \n ", NOW).filter == {}
