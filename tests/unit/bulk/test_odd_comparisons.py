"""Comparisons of odd values and odd samples: replies that JSON can have, and no sentence that is false."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from jobqueue.domain.bulk.comparison import compare
from jobqueue.domain.bulk.failure_comparison import FailureComparison, Looked
from jobqueue.domain.bulk.features import ComparedJob, Run
from tests.unit.bulk.test_comparison import DAY, FAILED, both, draws, job, texts


def test_huge_and_odd_numbers_can_be_sent() -> None:
    def planted(is_bad: object, number: int) -> dict[str, Any]:
        odd = (float("nan"), float("inf"), -float("inf"), 5e-324, -0.0, 2**63 - 1)[number % 6]
        return {"big": (1e305 if is_bad else 1e20) * (1 + number / 1000), "odd": odd, "$x.y": [[number]]}

    found = compare(*both(60, draws(1), planted))
    assert "data.big ≥ " in texts(found)[0]
    assert len(texts(found)[0]) < 40
    orjson.dumps([trait.value for trait in found.traits])


def comparison(failed: int, succeeded: int) -> FailureComparison:
    jobs = [job(number) for number in range(max(failed, succeeded))]
    looked = {
        name: Looked(count=count, how="", first_at=None, last_at=None)
        for name, count in (("failed", failed), ("succeeded", succeeded))
    }
    return FailureComparison(
        fingerprint="f" * 16,
        type="order",
        queue=None,
        began=None,
        found=compare(jobs[:failed], jobs[:succeeded]),
        is_complete=True,
        **looked,
    )


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((0, 0), "No failed job of the group is among the jobs that were looked at."),
        ((9, 0), "No job of the type order that succeeded was found: there is nothing to compare with."),
    ],
)
def test_jobs_that_were_not_looked_at_are_not_said_to_be_missing(counts: tuple[int, int], message: str) -> None:
    assert comparison(*counts).message == message


def test_an_hour_with_many_jobs_of_few_days_is_no_trait() -> None:
    def at(day: int, hour: int, count: int) -> list[ComparedJob]:
        start = DAY + timedelta(days=day, hours=hour)
        return [job(0, insert_at=start, run=Run(start_at=start)) for _ in range(count)]

    # Nine failures of ten began at 3, but in one night only; others begin at 3 in each night.
    failed = [*at(0, 3, 900), *(one for day in range(40) for one in at(day, 5, 2))]
    others = [one for day in range(40) for one in (*at(day, 3, 1), *at(day, 7, 2))]
    found = compare([replace(one, state=FAILED) for one in failed], others, others)
    assert "began between 03:00 and 04:00 UTC" not in texts(found)
