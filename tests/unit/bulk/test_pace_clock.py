"""The pace of a careful operation when the clock of the server is set back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobqueue.domain.bulk import course
from tests.unit.bulk.test_careful_rules import NOW, operation, watched


@pytest.mark.parametrize("pace", ["1/m", "60/m", "60000/m"])
def test_a_clock_that_is_set_back_holds_up_no_pace(pace: str) -> None:
    turn = course.turn_after(operation({"pace": pace}), NOW, 1)
    assert turn is not None
    waits = operation({"pace": pace}, turn_at=turn, watched=watched(1))
    assert course.room(waits, NOW) == 0
    back = NOW - timedelta(hours=1)
    assert course.room(waits, back) == 1
    assert course.turn_after(waits, back, 1) == turn - timedelta(hours=1)
    assert course.pause(waits, back) <= course.LONGEST_PAUSE
