"""How many claims a dispatcher makes: as many as there may be jobs, and none that must find nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.services.work.demand import Demand
from tests.unit.jobs.domain_strategies import modest


def sated() -> Demand:
    """Return an appetite that has found nothing."""
    demand = Demand()
    demand.found_nothing(demand.heard)
    return demand


def test_at_first_it_looks_and_after_finding_nothing_it_does_not() -> None:
    assert Demand().wants(None, now=1.0)
    assert not sated().wants(None, now=1.0)


@pytest.mark.parametrize("told", [1, 2, 7])
def test_it_makes_exactly_as_many_claims_as_it_heard_of_jobs(told: int) -> None:
    demand = sated()
    for _ in range(told):
        demand.wake(1)
    claims = 0
    while demand.wants(None, now=1.0):
        demand.found_one()
        claims += 1
    assert claims == told


def test_a_backlog_is_claimed_until_nothing_is_found() -> None:
    demand = sated()
    demand.wake(math.inf)
    for _ in range(1000):
        demand.found_one()
    assert demand.wants(None, now=1.0)
    demand.found_nothing(demand.heard)
    assert not demand.wants(None, now=1.0)


def test_a_job_that_came_during_a_claim_that_found_nothing_is_not_forgotten() -> None:
    demand = sated()
    demand.wake(1)
    heard = demand.heard
    demand.wake(1)
    demand.found_nothing(heard)
    assert demand.wants(None, now=1.0)


def test_a_limit_holds_however_many_jobs_wait() -> None:
    demand = Demand(taken=2)
    assert demand.wants(3, now=1.0)
    assert not demand.wants(2, now=1.0)
    assert demand.wants(None, now=1.0)


@modest
@given(st.lists(st.sampled_from(["job", "all", "one", "nothing"]), max_size=30))
def test_whatever_happens_it_is_never_deaf(events: list[str]) -> None:
    demand = Demand()
    for event in events:
        match event:
            case "job":
                demand.wake(1)
            case "all":
                demand.wake(math.inf)
            case "one":
                demand.found_one()
            case _:
                demand.found_nothing(demand.heard)
        assert demand.known >= 0
    demand.wake(1)
    assert demand.wants(None, now=1.0)
