from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.backoff import FixedBackoff, SteppedBackoff
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.jobs.job import DEEPEST_CHILD, MOST_CHILDREN, NewJob, as_tuple, depth
from jobqueue.domain.values.checks import BOUNDS, check_id, check_number, check_queue, check_type
from jobqueue.domain.values.payload import MOST_DATA
from tests.unit.jobs.domain_strategies import HUGE, garbage, modest, new_jobs

FIELDS = tuple(NewJob.__dataclass_fields__)


def problems(**fields: Any) -> dict[str, list[str]]:
    """Return what is wrong with a new job."""
    with pytest.raises(InvalidInputError) as caught:
        NewJob(**{"type": "work", **fields})
    return caught.value.problems


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("type", "", "type"),
        ("type", "x" * 201, "type"),
        ("type", "a\nb", "type"),
        ("type", "*", "type"),
        ("type", "$type", "type"),
        ("type", "\ud800", "type"),
        ("type", 5, "type"),
        ("type", None, "type"),
        ("queue", "", "queue"),
        ("queue", "x" * 101, "queue"),
        ("queue", "a.b", "queue"),
        ("queue", "a\n", "queue"),
        ("queue", "-a", "queue"),
        ("queue", "é", "queue"),
        ("queue", ["a"], "queue"),
        ("data", [], "data"),
        ("data", "{}", "data"),
        ("data", None, "data"),
        ("data", {"a": [0, {"b": math.nan}]}, "data.a.1.b"),
        ("meta", {"a": {"b.c": 1}}, "meta.a.b.c"),
        ("meta", {"a": list(range(101))}, "meta"),
        ("priority", 1.0, "priority"),
        ("priority", True, "priority"),
        ("priority", HUGE, "priority"),
        ("priority", 10**9 + 1, "priority"),
        ("attempts", 0, "attempts"),
        ("attempts", 10_001, "attempts"),
        ("attempts", "3", "attempts"),
        ("attempts", math.inf, "attempts"),
        ("backoff", "60", "backoff"),
        ("backoff", [1, HUGE], "backoff.1"),
        ("backoff", {"kind": "linear"}, "backoff.kind"),
        ("backoff", FixedBackoff(-1), "backoff"),
        ("delay", -1, "delay"),
        ("delay", HUGE, "delay"),
        ("delay", math.nan, "delay"),
        ("delay", "1", "delay"),
        ("delay_til", "2030-01-01", "delayTil"),
        ("delay_til", 0, "delayTil"),
        ("delay_til", datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), "delayTil"),
        ("lease", 0.1, "lease"),
        ("lease", 8 * 86_400, "lease"),
        ("lease", math.nan, "lease"),
        ("timeout", 0, "timeout"),
        ("timeout", HUGE, "timeout"),
        ("timeout", False, "timeout"),
        ("key", "", "key"),
        ("key", "x" * 501, "key"),
        ("key", "\ud800", "key"),
        ("key", 5, "key"),
        ("on_success_delete", 1, "onSuccessDelete"),
        ("on_success_delete", "true", "onSuccessDelete"),
        ("on_complete", "job", "onComplete"),
        ("on_complete", 5, "onComplete"),
        ("on_success", [{"type": "a"}, 5], "onSuccess.1"),
        ("on_success", {}, "onSuccess.type"),
        ("on_failure", {"type": "a", "typ": 1}, "onFailure.typ"),
        ("on_failure", [{"type": "a", "lease": 0}], "onFailure.0.lease"),
        ("on_failure", {"type": "a", "on_complete": [{"type": "*"}]}, "onFailure.onComplete.0.type"),
        ("on_complete", [{"type": "a"}] * (MOST_CHILDREN + 1), "onComplete"),
    ],
)
def test_an_unacceptable_value_is_named_by_its_path_in_json(field: str, value: object, path: str) -> None:
    found = problems(**{field: value})
    assert list(found) == [path]
    assert all(message for message in found[path])


def test_all_mistakes_are_told_at_once() -> None:
    found = problems(
        type="",
        queue="a b",
        data={"a": math.nan, "b": 2**63},
        meta=[],
        priority=1.5,
        attempts=0,
        backoff=[-1, 5, "x"],
        delay=-1,
        lease=0,
        timeout=0,
        key="",
        on_success_delete="no",
        on_complete=[{"type": "", "attempts": 0}, {"type": "fine"}],
        on_failure="x",
    )
    assert set(found) == {
        *("type", "queue", "data.a", "data.b", "meta", "priority", "attempts", "backoff.0", "delay", "lease"),
        *("timeout", "key", "onSuccessDelete", "onComplete.0.type", "onComplete.0.attempts", "onFailure"),
    }


@modest
@given(st.dictionaries(st.sampled_from(FIELDS), garbage))
def test_garbage_in_any_field_raises_nothing_but_errors_about_input(fields: dict[str, Any]) -> None:
    try:
        made = NewJob(**{"type": "work", **fields})
    except (InvalidInputError, TooLargeError) as error:
        assert str(error)  # noqa: PT017 - only some garbage is refused
    else:
        assert made.delay is None or made.delay_til is None


@pytest.mark.parametrize("name", BOUNDS)
def test_the_bounds_themselves_are_within_them(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low, high):
        check_number(name, value)
    for beyond in (low - 1, high + 1, HUGE, -HUGE):
        with pytest.raises(InvalidInputError, match="must be from"):
            check_number(name, beyond)


def test_a_delay_and_a_due_time_exclude_each_other() -> None:
    soon = datetime(2030, 1, 1, tzinfo=UTC)
    assert problems(delay=0, delay_til=soon) == {"delayTil": ["cannot be given together with delay"]}
    assert NewJob(type="a", delay_til=soon).delay_til == soon


def test_a_due_time_is_in_utc_whatever_its_zone() -> None:
    there = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    made = NewJob(type="a", delay_til=there)
    assert made.delay_til == there
    assert made.delay_til is not None
    assert made.delay_til.tzinfo is UTC


def test_data_and_meta_share_their_limit() -> None:
    half = "x" * (MOST_DATA // 2)
    with pytest.raises(TooLargeError, match="data and meta takes 1,"):
        NewJob(type="a", data={"a": half}, meta={"a": half})
    with pytest.raises(TooLargeError, match=r"^data takes"):
        NewJob(type="a", data={"a": half * 2})


def test_children_keep_the_shape_they_were_given_in() -> None:
    def made(**fields: Any) -> NewJob:
        return NewJob(type="a", **fields)

    one = made(on_complete={"type": "b", "data": {"n": 1}, "backoff": [1, 2]})
    assert one.on_complete == NewJob(type="b", data={"n": 1}, backoff=SteppedBackoff((1, 2)))
    several = made(on_success=[{"type": "b"}, NewJob(type="c")])
    assert several.on_success == (NewJob(type="b"), NewJob(type="c"))
    assert made(on_failure=[]).on_failure is None
    assert as_tuple(one.on_complete) == (one.on_complete,)


def test_children_are_nested_down_to_a_limit() -> None:
    job = NewJob(type="a")
    for level in range(1, DEEPEST_CHILD + 1):
        job = NewJob(type="a", on_complete=job)
        assert depth(job) == level
    with pytest.raises(InvalidInputError, match=f"nested deeper than {DEEPEST_CHILD}"):
        NewJob(type="a", on_failure=job)


def test_children_that_never_end_are_no_recursion_error() -> None:
    endless: dict[str, Any] = {"type": "a"}
    endless["on_complete"] = [endless]
    with pytest.raises(InvalidInputError, match=f"nested deeper than {DEEPEST_CHILD}"):
        NewJob(**endless)


@modest
@given(new_jobs())
def test_a_new_job_made_of_its_own_fields_is_the_same(made: NewJob) -> None:
    assert NewJob(**{name: getattr(made, name) for name in FIELDS}) == made


@pytest.mark.parametrize("value", ["a" * 23, "a" * 25, "g" * 24, "", 5, None, "٣" * 24, "a" * 24 + "\n"])
def test_an_id_is_24_hexadecimal_digits(value: object) -> None:
    with pytest.raises(InvalidInputError, match="24 hexadecimal digits"):
        check_id(value)
    assert check_id("ABCDEF0123456789abcdef01") == "abcdef0123456789abcdef01"


@modest
@given(garbage)
def test_no_garbage_is_taken_for_a_name(value: object) -> None:
    for check in (check_id, check_queue, check_type):
        try:
            assert isinstance(check(value), str)
        except InvalidInputError as error:
            assert list(error.problems) == [check.__name__.removeprefix("check_")]  # noqa: PT017 - not all is refused
