from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.attempts.backoff import Backoff, ExponentialBackoff, FixedBackoff, SteppedBackoff, parse
from jobqueue.domain.durations import LONGEST
from jobqueue.domain.errors import InvalidInputError
from tests.unit.jobs.domain_strategies import HUGE, backoffs, chances, garbage, modest


@modest
@given(backoffs, st.integers(-5, 10**12), chances)
def test_every_wait_is_finite_and_neither_negative_nor_longer_than_the_longest(
    wanted: Backoff, attempt: int, chance: float
) -> None:
    seconds = wanted.seconds(attempt, chance=chance)
    assert math.isfinite(seconds)
    assert 0 <= seconds <= LONGEST


@modest
@given(backoffs)
def test_its_wire_form_is_json_and_reads_back_as_the_same(wanted: Backoff) -> None:
    assert parse(json.loads(json.dumps(wanted.wire(), allow_nan=False))) == wanted


@modest
@given(backoffs)
def test_a_backoff_is_read_as_itself(wanted: Backoff) -> None:
    assert parse(wanted) == wanted


@modest
@given(garbage | st.fixed_dictionaries({"kind": st.just("exponential"), "base": garbage, "factor": garbage}))
def test_garbage_raises_nothing_but_invalid_input_errors(value: object) -> None:
    try:
        read = parse(value)
    except InvalidInputError as error:
        assert error.problems  # noqa: PT017 - only some garbage is refused
        assert all(path.startswith("backoff") for path in error.problems)  # noqa: PT017 - as above
    else:
        assert 0 <= read.seconds(10**6, chance=1) <= LONGEST


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (HUGE, "backoff"),
        (-1, "backoff"),
        (True, "backoff"),
        (math.nan, "backoff"),
        (math.inf, "backoff"),
        ("60", "backoff"),
        (None, "backoff"),
        ([], "backoff"),
        ([1] * 1001, "backoff"),
        ([1, -1], "backoff.1"),
        ([1, HUGE], "backoff.1"),
        ([1, "2"], "backoff.1"),
        ({}, "backoff.kind"),
        ({"kind": "linear"}, "backoff.kind"),
        ({"kind": ["exponential"]}, "backoff.kind"),
        ({"kind": "exponential", "bse": 1}, "backoff.bse"),
        ({"kind": "exponential", "base": HUGE}, "backoff.base"),
        ({"kind": "exponential", "factor": 0.5}, "backoff.factor"),
        ({"kind": "exponential", "jitter": 1.5}, "backoff.jitter"),
        (FixedBackoff(-1), "backoff"),
        (SteppedBackoff((1, math.nan)), "backoff.1"),
        (SteppedBackoff(()), "backoff"),
        (ExponentialBackoff(max=math.inf), "backoff.max"),
    ],
)
def test_what_is_no_backoff_is_refused_by_its_path(value: Any, path: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(value)
    assert list(caught.value.problems) == [path]


def test_bounds_are_written_out() -> None:
    with pytest.raises(InvalidInputError, match=r"backoff: must be from 0 to 315360000$"):
        parse(-1)


def test_a_fixed_wait_is_the_same_after_every_attempt() -> None:
    assert {FixedBackoff(60).seconds(attempt, chance=0.5) for attempt in (1, 2, 1000)} == {60}


def test_the_last_step_repeats() -> None:
    steps = SteppedBackoff((10, 60, 600))
    assert [steps.seconds(attempt, chance=0.5) for attempt in range(6)] == [10, 10, 60, 600, 600, 600]


def test_an_exponential_wait_grows_up_to_its_maximum() -> None:
    wanted = ExponentialBackoff(base=10, factor=2, max=100, jitter=0)
    assert [wanted.seconds(attempt, chance=0.5) for attempt in range(1, 7)] == [10, 20, 40, 80, 100, 100]


@modest
@given(chances)
def test_jitter_spreads_a_wait_to_both_sides_and_no_further(chance: float) -> None:
    assert 9 <= ExponentialBackoff(base=10, jitter=0.1).seconds(1, chance=chance) <= 11


def test_jitter_uses_its_whole_width() -> None:
    wanted = ExponentialBackoff(base=10, jitter=0.5)
    assert [wanted.seconds(1, chance=chance) for chance in (0, 0.5, 1)] == [5, 10, 15]


def test_no_wait_stays_no_wait_however_many_attempts_there_were() -> None:
    assert ExponentialBackoff(base=0, factor=1000).seconds(10**9, chance=1) == 0
