from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.api.http.json_body import DEEPEST, parse
from jobqueue.api.http.problems import ProblemError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@settings(deadline=None)
@given(JSON, st.booleans())
def test_what_is_json_is_read_as_it_is(value: object, escaped: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    assert parse(json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")) == value


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_problem(body: bytes) -> None:
    try:
        parse(body)
    except ProblemError as error:
        assert error.problem.status == 400  # noqa: PT017 - only some bytes are refused


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b'{"a": }', "not JSON: expecting value at line 1"),
        (b'{"a": 1} x', "extra data"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": "\n"}', "invalid control character"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e400}', "out of range: 1e400"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b"[" * 100_000, "nested deeper"),
        (b"]" * 100_000, "not JSON"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested deeper"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "nested deeper"),
    ],
)
def test_a_body_that_is_not_clear_json_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        parse(body)
    assert caught.value.problem.status == 400
    assert said in caught.value.problem.detail


def test_the_deepest_body_and_brackets_in_texts_are_read() -> None:
    deepest = b"[" * DEEPEST + b"]" * DEEPEST
    assert json.dumps(parse(deepest)) == deepest.decode()
    many = [["[{" * 500, '"\\'], {}] * 500
    assert parse(json.dumps(many).encode()) == many


def test_a_huge_whole_number_stays_beyond_64_bit() -> None:
    assert parse(b"1" * 6000) > 2**63
    assert parse(b"-" + b"9" * 21) < -(2**63)
    assert parse(b"-9223372036854775808") == -(2**63)


def test_surrogate_pairs_and_escaped_backslashes_are_text() -> None:
    assert parse(b'"\\ud83d\\ude00 \\\\ud800"') == "\U0001f600 \\ud800"
