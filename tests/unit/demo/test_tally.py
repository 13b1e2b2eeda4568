from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from jobqueue.demo.tally import Tally
from jobqueue.domain.errors import Die, JobCancelledError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def job(attempt: int = 1) -> Any:
    return SimpleNamespace(attempts=3, attempts_made=attempt)


@pytest.mark.parametrize(
    ("error", "attempt", "counts"),
    [
        (None, 1, (1, 0, 0)),
        (ValueError("no"), 1, (0, 0, 1)),
        (ValueError("no"), 3, (0, 1, 0)),
        (Die("no"), 1, (0, 1, 0)),
        (JobCancelledError(), 1, (0, 0, 0)),
    ],
)
def test_an_attempt_is_counted_by_how_it_ends(
    error: Exception | None, attempt: int, counts: tuple[int, int, int]
) -> None:
    tally = Tally()
    with contextlib.suppress(Exception), tally.attempt(job(attempt)):
        assert tally.snapshot().running == 1
        if error:
            raise error

    now = tally.snapshot()
    assert (now.done, now.failed, now.retried) == counts
    assert now.running == 0


def test_the_rate_is_of_the_last_seconds_and_leaves_out_what_was_done_before() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.start_from(done=500, failed=2)
    for _ in range(20):
        clock.now += 1
        for _ in range(4):
            with tally.attempt(job()):
                pass
        now = tally.snapshot()
        assert now.rate == pytest.approx(4)

    assert now.ended == 582
    clock.now += 1
    tally.snapshot()
    clock.now += 5
    assert tally.snapshot().rate == pytest.approx(0)


def test_what_is_expected_and_said_is_shown() -> None:
    tally = Tally()
    assert tally.snapshot().total is None

    tally.expect(7)
    tally.say("a.py: 3 lines")

    assert (tally.snapshot().total, tally.snapshot().line) == (7, "a.py: 3 lines")
