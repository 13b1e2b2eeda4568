"""Leeways of rates: longer where starts come too late, and no longer than that lasts."""

from __future__ import annotations

from datetime import timedelta

from jobqueue.domain.limits.limits import Rate
from jobqueue.services.limits.limiter import GrantLeeway

RATE = Rate(limit=1, per=1)


def test_without_lateness_it_is_that_of_the_rate() -> None:
    leeway = GrantLeeway()
    for _ in range(3):
        leeway.was_in_time("q", RATE, 5)
        assert leeway.of("q", RATE) == RATE.leeway


def test_it_grows_to_twice_what_it_took_and_never_above_ten_seconds() -> None:
    leeway = GrantLeeway()
    leeway.was_late("q", RATE, 0.5)
    assert abs(leeway.of("q", RATE) - timedelta(seconds=1)) < timedelta(milliseconds=1)
    assert leeway.of("other", RATE) == RATE.leeway
    for _ in range(30):
        leeway.was_late("q", RATE, 60)
    assert leeway.of("q", RATE) == timedelta(seconds=10)
    slow = Rate(limit=1, per=86_400)
    assert leeway.of("q", slow) == timedelta(seconds=10)


def test_it_comes_back_within_some_starts() -> None:
    leeway = GrantLeeway()
    leeway.was_late("q", RATE, 5)
    for _ in range(12):
        leeway.was_in_time("q", RATE, 0.005)
    assert leeway.of("q", RATE) == RATE.leeway


def test_it_does_not_fall_below_what_starts_take_now() -> None:
    leeway = GrantLeeway()
    leeway.was_late("q", RATE, 0.5)
    for _ in range(12):
        leeway.was_in_time("q", RATE, 0.3)
    assert abs(leeway.of("q", RATE) - timedelta(seconds=0.6)) < timedelta(milliseconds=1)
