"""How many claims a dispatcher makes: as many as there may be jobs, and none that must find nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.services.work.dispatcher import _Appetite
from tests.unit.jobs.domain_strategies import modest


def sated() -> _Appetite:
    """Return an appetite that has found nothing."""
    appetite = _Appetite()
    appetite.found_nothing(appetite.heard)
    return appetite


def test_at_first_it_looks_and_after_finding_nothing_it_does_not() -> None:
    assert _Appetite().wants(None, now=1.0)
    assert not sated().wants(None, now=1.0)


@pytest.mark.parametrize("told", [1, 2, 7])
def test_it_makes_exactly_as_many_claims_as_it_heard_of_jobs(told: int) -> None:
    appetite = sated()
    for _ in range(told):
        appetite.wake(1)
    claims = 0
    while appetite.wants(None, now=1.0):
        appetite.found_one()
        claims += 1
    assert claims == told


def test_a_backlog_is_claimed_until_nothing_is_found() -> None:
    appetite = sated()
    appetite.wake(math.inf)
    for _ in range(1000):
        appetite.found_one()
    assert appetite.wants(None, now=1.0)
    appetite.found_nothing(appetite.heard)
    assert not appetite.wants(None, now=1.0)


def test_a_job_that_came_during_a_claim_that_found_nothing_is_not_forgotten() -> None:
    appetite = sated()
    appetite.wake(1)
    heard = appetite.heard
    appetite.wake(1)
    appetite.found_nothing(heard)
    assert appetite.wants(None, now=1.0)


def test_a_limit_holds_however_many_jobs_wait() -> None:
    appetite = _Appetite(taken=2)
    assert appetite.wants(3, now=1.0)
    assert not appetite.wants(2, now=1.0)
    assert appetite.wants(None, now=1.0)


@modest
@given(st.lists(st.sampled_from(["job", "all", "one", "nothing"]), max_size=30))
def test_whatever_happens_it_is_never_deaf(events: list[str]) -> None:
    appetite = _Appetite()
    for event in events:
        match event:
            case "job":
                appetite.wake(1)
            case "all":
                appetite.wake(math.inf)
            case "one":
                appetite.found_one()
            case _:
                appetite.found_nothing(appetite.heard)
        assert appetite.known >= 0
    appetite.wake(1)
    assert appetite.wants(None, now=1.0)
