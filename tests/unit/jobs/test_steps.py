"""Steps that a requeue forgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.steps.step import UNFORGOTTEN, Step, to_forget

AT = datetime(2030, 1, 1, tzinfo=UTC)


def steps(*milliseconds: int | None) -> list[Step]:
    """Return steps ``a``, ``b`` and so on, with the times at which they finished."""
    ends = [None if one is None else AT + timedelta(milliseconds=one) for one in milliseconds]
    return [Step(name="abcdef"[place], end_at=end) for place, end in enumerate(ends)]


@pytest.mark.parametrize(
    ("ends", "first", "forgotten"),
    [
        ((0, 10, 20), "b", {"b", "c"}),
        ((0, 20, 10), "c", {"b", "c"}),
        ((5, 5, 5), "b", {"b", "c"}),
        ((5, 5, 5), "a", {"a", "b", "c"}),
        ((0, None, 20), "b", {"b"}),
        ((0, None, 20), "a", {"a", "c"}),
    ],
)
def test_a_step_and_all_that_finished_after_it_are_forgotten(
    ends: tuple[int | None, ...], first: str, forgotten: set[str]
) -> None:
    assert to_forget(steps(*ends), first, is_over=False) == forgotten


def test_nothing_or_all_is_forgotten_without_a_name() -> None:
    assert to_forget(steps(1, 2), UNFORGOTTEN, is_over=False) == set()
    assert to_forget(steps(1, 2), UNFORGOTTEN, is_over=True) is None
    assert to_forget(steps(1, 2), None, is_over=False) is None


def test_a_step_that_failed_may_have_left_nothing() -> None:
    assert to_forget(steps(1), "z", is_over=False, failed="z") == set()
    with pytest.raises(InvalidInputError, match="no step 'z'"):
        to_forget(steps(1), "z", is_over=False, failed="y")
