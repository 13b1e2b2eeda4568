"""Charts: axes with short numbers, bars with the jobs behind them, lines that end where nothing is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobqueue.dashboard.frame.charts import HEIGHT, Steps, rounded_up, rounded_up_seconds, short_span
from jobqueue.dashboard.frame.preferences import Preferences
from jobqueue.domain.jobs.json_form import date

BEGIN = datetime(2026, 11, 24, 13, 32, tzinfo=UTC)


def point(minute: int, good: int = 0, bad: int = 0, wait: float | None = None) -> dict[str, Any]:
    times = {"p50": wait, "p99": wait}
    counts = {"started": good + bad, "succeeded": good, "failed": bad, "killed": 0}
    return {"at": date(BEGIN + timedelta(minutes=minute)), **counts, "wait": times, "run": {"p50": None, "p99": None}}


def steps(points: list[dict[str, Any]], seconds_of_last: float = 60) -> Steps:
    until = BEGIN + timedelta(minutes=len(points) - 1, seconds=seconds_of_last)
    return Steps({"points": points, "step": 60.0, "to": date(until)}, Preferences())


@pytest.mark.parametrize(("value", "top"), [(0, 4), (0.3, 0.4), (3, 4), (13, 20), (101, 120), (1_001, 1_200)])
def test_an_axis_has_four_parts_with_short_numbers(value: float, top: float) -> None:
    assert rounded_up(value) == top


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [(0.003, ["4 ms", "1 ms"]), (7, ["8 s", "2 s"]), (500, ["10 min", "2:30"]), (30_000, ["12 h", "3 h"])],
)
def test_an_axis_of_times_has_four_parts_that_people_count_in(seconds: float, texts: list[str]) -> None:
    top = rounded_up_seconds(seconds)
    assert [short_span(top), short_span(top / 4)] == texts
    assert rounded_up_seconds(10 * 86_400) >= 10 * 86_400


def test_a_bar_has_its_jobs_and_the_time_that_they_ended_in() -> None:
    chart = steps([point(0, good=3, bad=1), point(1), point(2, good=4)]).jobs()
    assert chart.ups == ["4", "3", "2", "1", "0"]
    assert [bar.parts for bar in chart.bars] == [
        [("success", 32, 96), ("failed", 0, 32)],
        [],
        [("success", 0, HEIGHT)],
    ]
    assert chart.bars[0].text == "24 Nov 13:32: 3 succeeded, 1 failed"
    assert (chart.bars[0].since, chart.bars[0].until) == ("2026-11-24T13:32Z", "2026-11-24T13:33Z")
    assert (chart.along[0], chart.along[-1]) == ("13:32", "13:35")


def test_a_step_that_has_just_begun_makes_no_peak() -> None:
    assert steps([point(0, good=4), point(1, good=1)], seconds_of_last=1).jobs().bars[1].parts == [("success", 0, 128)]
    assert steps([point(0, good=4), point(1, good=1)], seconds_of_last=30).jobs().bars[1].parts == [("success", 64, 64)]


def test_a_line_ends_where_nothing_is_known() -> None:
    (median, *_) = steps([point(0, wait=0), point(1, wait=4), point(2), point(3, wait=2)]).times().lines
    assert (median.name, median.path) == ("wait p50", "M4 128.0L13 0.0M28 64.0h6")
