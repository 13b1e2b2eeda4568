"""Whose missing heartbeats count: a simulation of a worker, a reaper and a database that comes and goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobqueue.services.work.loops import LeaseGrace
from tests.unit.jobs.domain_strategies import modest

LONGEST_BEAT: Final = 10.0
RETRY: Final = 0.5
FOR_EVER: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A job with a lease, and a reaper that looks every so often; times in seconds.

    Attributes:
        outages: pairs of the beginning and the end of each time without a database.
        dies_at: when the worker stops.
        offset: by how much the first look of the reaper is later than the first heartbeat.
    """

    lease: float
    interval: float
    outages: tuple[tuple[float, float], ...] = ()
    dies_at: float = FOR_EVER
    offset: float = 0.0

    @property
    def beat(self) -> float:
        return min(self.lease / 4, LONGEST_BEAT)

    def is_up(self, now: float) -> bool:
        return not any(begin <= now < end for begin, end in self.outages)

    def reaped_at(self, until: float) -> float | None:
        """Return when the job is taken back, or ``None`` if it is not until then."""
        grace = LeaseGrace(0.0)
        lease_end, beat_at, look_at = self.lease, self.beat, self.offset
        while look_at < until:
            if beat_at <= look_at:
                now = beat_at
                if self.is_up(now):
                    lease_end, beat_at = now + self.lease, now + self.beat
                else:
                    beat_at = now + min(RETRY, self.beat)
                if beat_at >= self.dies_at:
                    beat_at = FOR_EVER * 2
                continue
            now, look_at = look_at, look_at + self.interval
            if self.is_up(now):
                expired = lease_end <= now and self.lease <= grace.patience(now)
                grace.saw_database(now)
                if expired and grace.allows(self.lease, now):
                    return now
                if expired:
                    look_at = min(look_at, now + grace.pace(self.lease))
        return None


leases = st.floats(1, 600)
intervals = st.floats(0.2, 30)


@st.composite
def outages(draw: st.DrawFn, shortest_peace: float) -> tuple[tuple[float, float], ...]:
    """Give outages of any length with at least as many seconds in between."""
    now, found = 0.0, []
    for _ in range(draw(st.integers(0, 6))):
        begin = now + shortest_peace + draw(st.floats(0, 1000))
        now = begin + draw(st.floats(0.001, 3000))
        found.append((begin, now))
    return tuple(found)


@modest
@given(st.data(), leases, intervals, st.floats(0, 30))
def test_a_worker_that_heartbeats_when_it_can_is_never_reaped_after_outages_of_any_length(
    data: st.DataObject, lease: float, interval: float, offset: float
) -> None:
    # In every peace the worker gets through at least once; who never does has lost its job anyway.
    found = data.draw(outages(min(lease / 4, LONGEST_BEAT) + RETRY))
    world = World(lease=lease, interval=interval, outages=found, offset=offset)
    end = found[-1][1] if found else 0.0
    assert world.reaped_at(end + 5 * lease + 10 * interval) is None


@modest
@given(leases, intervals, st.floats(0, 2000), st.floats(0, 30))
def test_a_dead_worker_is_reaped_soon_after_its_lease_and_no_sooner(
    lease: float, interval: float, dies_at: float, offset: float
) -> None:
    world = World(lease=lease, interval=interval, dies_at=dies_at, offset=offset)
    ended = world.reaped_at(dies_at + 10 * (lease + interval) + offset)
    assert ended is not None
    assert ended >= max(dies_at, lease)
    # The lease, the wait for the next look, and at most one lease of grace with its finer steps.
    assert ended <= max(dies_at, offset) + 2 * lease + interval + lease / 2


@modest
@given(st.data(), leases, intervals)
def test_a_worker_that_died_in_an_outage_is_reaped_a_lease_after_its_end(
    data: st.DataObject, lease: float, interval: float
) -> None:
    found = data.draw(outages(lease))
    assume(found)
    begin, end = found[-1]
    dies_at = data.draw(st.floats(begin, end))
    world = World(lease=lease, interval=interval, outages=found, dies_at=dies_at)
    ended = world.reaped_at(end + 10 * (lease + interval))
    assert ended is not None
    assert ended <= end + 2 * lease + 2 * interval + lease / 2


@pytest.mark.parametrize("interval", [0.5, 2.0, 29.0])
def test_without_the_wait_after_an_outage_a_living_worker_would_be_reaped(interval: float) -> None:
    """Show that the simulation can tell: at the end of this outage the lease is over, and the worker alive."""
    world = World(lease=20, interval=interval, outages=((50.0, 200.1),))
    assert world.reaped_at(1000) is None
    impatient = LeaseGrace(-FOR_EVER)
    impatient._last = 200.1 - interval
    assert impatient.allows(20, 200.1)


def test_after_the_start_nothing_is_reaped_for_a_whole_lease() -> None:
    grace = LeaseGrace(100.0)
    for now in range(100, 160, 2):
        assert not grace.allows(60, now)
        assert grace.patience(now) == now - 100
        grace.saw_database(now)
    assert grace.allows(60, 160.0)
    assert grace.allows(5, 160.0)
    assert not grace.allows(61, 160.0)


def test_a_short_gap_does_not_delay_those_with_long_leases() -> None:
    grace = LeaseGrace(0.0)
    for now in [*range(0, 700, 2), 720]:
        grace.saw_database(float(now))
    assert grace.allows(600, 720.0)
    assert grace.allows(60, 720.0)
    assert not grace.allows(20, 720.0)


def test_ever_shorter_gaps_are_remembered_within_bounds_and_never_forgotten_too_early() -> None:
    grace = LeaseGrace(0.0)
    now = 0.0
    for step in range(400):
        now += 100.0 - step / 5
        grace.saw_database(now)
    assert len(grace._gaps) <= 100
    assert not grace.allows(20, now)
    assert not grace.allows(41, now)
    for _ in range(2000):
        now += 2
        grace.saw_database(now)
    assert grace.allows(20, now)
    assert grace.allows(3600, now)
