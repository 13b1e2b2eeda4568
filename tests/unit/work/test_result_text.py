from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.values import payload
from jobqueue.domain.work import result_text

WHY = "result.$a: has a name that begins with $"
LIMIT = r"bytes; the limit is 4,194,304 \(as text, for result\.\$a: has a name that begins with \$\)$"

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@given(values)
def test_the_text_of_a_value_is_its_json(value: Any) -> None:
    text = result_text.of(value, WHY)

    assert json.loads(text) == value
    assert payload.check_result(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "NaN"),
        (10**400, str(10**400)),
        ("\ud800\0", '"\\ud800\\u0000"'),
        (2**20_000, hex(2**20_000)),
        ({"$set": (), "a": {}, None: True, 2: 0.5}, '{"$set": [], "a": {}, "null": true, "2": 0.5}'),
        ([datetime(2025, 3, 1, tzinfo=UTC)], '["2025-03-01T00:00:00+00:00"]'),
    ],
    ids=["no number", "huge number", "odd text", "hugest number", "odd names", "date"],
)
def test_values_beyond_json_have_a_text_too(value: Any, text: str) -> None:
    assert result_text.of(value, WHY) == text


def test_nesting_is_no_limit() -> None:
    value: list[Any] = []
    for _ in range(20_000):
        value = [value]

    assert result_text.of(value, WHY) == "[" * 20_001 + "]" * 20_001


def laughs() -> list[Any]:
    """Return a small list of very many values."""
    value: list[Any] = []
    for _ in range(50):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "é" * (payload.MOST_RESULT // 2),
        "\ud800" * (payload.MOST_RESULT // 5),
        [0] * payload.MOST_RESULT,
        {"x" * 5_000_000: 1},
        laughs(),
    ],
    ids=["text", "surrogates", "list", "name", "laughs"],
)
def test_a_text_over_the_limit_of_results_is_refused(value: Any) -> None:
    with pytest.raises(TooLargeError, match=rf"^result takes [\d,]+ {LIMIT}"):
        result_text.of(value, WHY)


def test_a_text_of_the_size_allowed_is_whole() -> None:
    assert result_text.of("x" * (payload.MOST_RESULT - 9), WHY) == '"' + "x" * (payload.MOST_RESULT - 9) + '"'
    with pytest.raises(TooLargeError, match=rf"^result takes 4,194,305 {LIMIT}"):
        result_text.of("x" * (payload.MOST_RESULT - 8), WHY)
    zeros = [0] * (payload.MOST_RESULT // 3 - 10)
    assert result_text.of({"$a": zeros}, WHY) == json.dumps({"$a": zeros})


@pytest.mark.parametrize("value", [object(), {1}, b"bytes", {(1, 2): 3}, {"a": iter([])}])
def test_a_value_that_is_no_data_has_none(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="result: cannot be made text"):
        result_text.of(value, WHY)


def test_a_value_that_contains_itself_has_none() -> None:
    value: dict[str, Any] = {}
    value["me"] = [value]

    with pytest.raises(InvalidInputError, match="it contains itself"):
        result_text.of(value, WHY)
