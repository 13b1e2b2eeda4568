from __future__ import annotations

import collections
import enum
import math
import types
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.jobs.job import check_content
from jobqueue.domain.values.payload import DEEPEST, MOST_DATA, MOST_RESULT, check, check_result
from tests.unit.jobs.domain_strategies import HUGE, LONG_AGO, garbage, modest, values

if TYPE_CHECKING:
    from collections.abc import Callable

AWARE: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
storable = values()


def back(value: Any) -> Any:
    """Return what MongoDB would give back."""
    return bson.decode(bson.encode({"value": value}), AWARE)["value"]


def as_stored(value: Any) -> Any:
    """Return a value with its tuples as lists, and its dates in UTC and whole milliseconds."""
    if isinstance(value, dict):
        return {name: as_stored(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_stored(inner) for inner in value]
    if isinstance(value, datetime):
        aware = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.replace(microsecond=aware.microsecond // 1000 * 1000)
    return value


def nested(levels: int, *, lists: bool) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if lists else {"a": value}
    return value


@modest
@given(storable | garbage | st.datetimes())
def test_whatever_is_accepted_comes_back_from_bson_unchanged(value: object) -> None:
    try:
        check(value, "data")
    except InvalidInputError:
        return
    assert back(value) == as_stored(value)


@modest
@given(storable)
def test_every_json_value_that_mongodb_can_keep_is_accepted(value: object) -> None:
    assert check(value, "data") > 0
    assert back(value) == value


@modest
@given(storable)
def test_the_measured_size_is_about_what_bson_takes_and_never_less_than_half(value: object) -> None:
    size = check(value, "data")
    taken = len(bson.encode({"value": value}))
    assert taken / 2 - 20 <= size <= taken * 6


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        (2**63, "data", "64 bit"),
        (-(2**63) - 1, "data", "64 bit"),
        (HUGE, "data", "64 bit"),
        (math.nan, "data", "finite"),
        (math.inf, "data", "finite"),
        (-math.inf, "data", "finite"),
        ("a\ud800", "data", "surrogate"),
        ({"a": ["b", "\udfff"]}, "data.a.1", "surrogate"),
        ({"\ud800": 1}, "data.\\ud800", "surrogate"),
        ({"a\0b": 1}, "data.a\\x00b", "NUL"),
        ({"$where": 1}, "data.$where", "begins with $"),
        ({"a": [{"$set": {}}]}, "data.a.0.$set", "begins with $"),
        ({1: 2}, "data", "not a string"),
        (b"x", "data", "bytes"),
        ({1, 2}, "data", "set"),
        (1j, "data", "complex"),
        ({"a": object()}, "data.a", "object"),
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "data", "date"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "data", "date"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_path(value: object, path: str, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check(value, "data")
    assert list(caught.value.problems) == [path]
    assert said in caught.value.problems[path][0]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), "\0", "", "$x", {"": 1}, {"a.b": 1}, {"a$": 1}, 5e-324, 1e308])
def test_what_only_looks_dangerous_is_accepted_and_comes_back(value: object) -> None:
    check(value, "data")
    assert back(value) == value


@pytest.mark.parametrize("lists", [True, False])
def test_nesting_is_allowed_down_to_a_limit(lists: bool) -> None:  # noqa: FBT001 - a parameter of the test
    deepest = nested(DEEPEST, lists=lists)
    check(deepest, "data")
    assert back(deepest) == deepest
    with pytest.raises(InvalidInputError, match="nested deeper than 64"):
        check(nested(DEEPEST + 1, lists=lists), "data")


def test_nesting_far_beyond_the_limit_is_no_recursion_error() -> None:
    with pytest.raises(InvalidInputError, match="nested deeper"):
        check(nested(100_000, lists=True), "data")


def test_a_value_that_contains_itself_is_refused_at_once() -> None:
    parent: dict[str, Any] = {"name": "parent"}
    parent["children"] = [{"parent": parent} for _ in range(5)]
    with pytest.raises(InvalidInputError, match="nested deeper"):
        check(parent, "data")


def test_several_problems_are_told_together_and_endless_ones_are_not() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check({"a": math.nan, "b": [1, 2**63], "c": "\ud800"}, "data")
    assert set(caught.value.problems) == {"data.a", "data.b.1", "data.c"}
    with pytest.raises(InvalidInputError) as caught:
        check([math.nan] * 100_000, "data")
    assert len(caught.value.problems) == 20


class Level(enum.IntEnum):
    LOW = 1


class Kind(enum.StrEnum):
    RENDER = "render"


class Colour(enum.StrEnum):
    RED = "red"


class Celsius(float):
    """A number of its own kind, as numpy's are."""

    def __float__(self) -> float:
        raise RuntimeError("never asked")


class Stamp(datetime):
    """A date of its own kind, as that of pandas is."""


class NotATime(datetime):
    """A date by its type only, as ``NaT`` of pandas is."""

    def replace(self, *_: Any, **__: Any) -> Any:
        return self

    def astimezone(self, *_: Any, **__: Any) -> Any:
        raise ValueError("NaTType does not support astimezone")


class Nowhere(NotATime):
    def astimezone(self, *_: Any, **__: Any) -> Any:
        return self

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class Locked(dict[str, Any]):
    def items(self) -> Any:
        raise KeyError("locked")


class Quitting(dict[str, Any]):
    def items(self) -> Any:
        raise SystemExit(3)


class Liar:
    """Say to be a type that it is not."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return self.kind


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (Level.LOW, 1),
        (Kind.RENDER, "render"),
        (Colour.RED, "red"),
        (Celsius(21.5), 21.5),
        (Stamp(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)),
        (Stamp(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), datetime(2025, 12, 31, 23, tzinfo=UTC)),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({Kind.RENDER: Level.LOW}, {"render": 1}),
        ([1, (Level.LOW, None)], [1, [1, None]]),
    ],
)
def test_values_of_types_of_their_own_become_those_of_python(value: Any, stored: Any) -> None:
    made = check_result({"a": [value]})["a"][0]
    assert made == stored
    assert back(made) == stored
    todo = [made]
    while todo:
        one = todo.pop()
        assert type(one) in {str, int, float, datetime, dict, list, type(None)}
        todo += [*one, *one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []


def test_a_plain_value_is_taken_as_it_is() -> None:
    value = {"a": [1, "b", None, 2.5, LONG_AGO]}
    assert check_result(value) is value


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NotATime(1, 1, 1), "result.a: is a date that UTC does not have"),
        (lambda: Nowhere(1, 1, 1), "result.a: is a date that UTC does not have"),
        (Locked, "result: cannot be read: KeyError: 'locked'"),
        (Quitting, "result: cannot be read: SystemExit: 3"),
        (lambda: Liar(dict), "result: cannot be read: AttributeError"),
        (lambda: Liar(int), "result: cannot be read: TypeError"),
        (lambda: Liar(str), "result: cannot be read: AttributeError"),
        (lambda: Liar(datetime), "result: cannot be read: AttributeError"),
        (lambda: (n for n in [1]), "result.a: is of type generator, which is no JSON value"),
        (lambda: types.MappingProxyType({}), "result.a: is of type mappingproxy, which is no JSON value"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_as_any_other(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_result({"a": make()})
    assert str(caught.value).startswith(said)


def test_lists_that_hold_each_other_many_times_are_too_large_at_once() -> None:
    value: Any = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(TooLargeError):
        check_result(value)
    with pytest.raises(TooLargeError):
        check_content({"a": value}, "data")


@pytest.mark.parametrize("name", ["a.b", "", "."])
def test_names_within_meta_can_be_steps_of_a_path(name: str) -> None:
    assert check_content({name: 1}, "data") == {name: 1}
    with pytest.raises(InvalidInputError, match="could not be searched"):
        check_content({name: 1}, "meta")
    with pytest.raises(InvalidInputError, match="could not be searched"):
        check_content({"x": [{name: 1}]}, "meta")


@pytest.mark.parametrize("value", [None, [], "{}", 5])
def test_data_and_meta_are_objects(value: object) -> None:
    for name in ("data", "meta"):
        with pytest.raises(InvalidInputError, match=f"{name}: must be an object"):
            check_content(value, name)


def test_meta_has_a_most_of_values() -> None:
    check_content({"a": list(range(100))}, "meta")
    check_content({"a": list(range(101))}, "data")
    with pytest.raises(InvalidInputError, match="at most 100 values"):
        check_content({"a": list(range(100)), "b": None}, "meta")


def test_sizes_are_bounded_in_bytes() -> None:
    check_content({"a": "x" * (MOST_DATA - 100)}, "data")
    with pytest.raises(TooLargeError, match="data takes 1,"):
        check_content({"a": "é" * (MOST_DATA // 2)}, "data")
    check_result("x" * (MOST_RESULT - 100))
    with pytest.raises(TooLargeError, match="result takes 4,"):
        check_result(["x" * MOST_RESULT])
    with pytest.raises(InvalidInputError, match="result: is not a finite number"):
        check_result(math.nan)
