"""Percentiles from buckets are the exact ones but for a known part of them."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.insight import activity, histogram
from jobqueue.domain.insight.activity import Activity, Starts

MONTH_MS = 31 * 86_400_000
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@given(st.lists(st.integers(0, MONTH_MS), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_the_relative_error_of_the_exact_one(times: list[int], part: float) -> None:
    exact = sorted(times)[max(1, math.ceil(part * len(times))) - 1]
    found = histogram.percentile(Counter(histogram.bucket(one) for one in times), part)
    assert found == pytest.approx(exact, rel=histogram.RELATIVE_ERROR + 1e-9, abs=1e-9)


def test_without_times_there_is_no_percentile() -> None:
    assert histogram.percentile({}, 0.5) is None


@given(st.integers(0, MONTH_MS), st.integers(0, MONTH_MS))
def test_a_longer_time_is_never_in_a_lower_bucket(one: int, other: int) -> None:
    assert (histogram.bucket(min(one, other))) <= histogram.bucket(max(one, other))


def made(count: int) -> Activity:
    return Activity(added=count, ended=Counter(success=count), starts={NOW: Starts(count=count)})


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.text(max_size=2), st.integers(1, 9)), max_size=40))
def test_too_many_keys_become_few_and_nothing_is_lost(items: list[tuple[str, str, int]]) -> None:
    tally = activity.total({(queue, kind): made(count)} for queue, kind, count in items)
    small = activity.condensed(tally, 3)
    assert len(small) <= 9
    assert activity.summed(small.values()) == activity.summed(tally.values())
    biggest = sorted(tally.items(), key=lambda item: -item[1].size)[:3]
    assert all(small[key] == one for key, one in biggest)


def test_by_hour_only_the_hour_of_a_start_is_known() -> None:
    one = Activity(starts={NOW: Starts(count=1), NOW + timedelta(minutes=5): Starts(count=2)})
    (coarse,) = activity.by_hour({("q", "t"): one}).values()
    assert coarse.starts == {NOW: Starts(count=3)}
    assert one.started_since(NOW + timedelta(minutes=1)).count == 2
