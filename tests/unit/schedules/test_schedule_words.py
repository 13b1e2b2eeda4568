"""Schedules in words, in two time zones, and over the days on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobqueue.dashboard.frame.preferences import Preferences
from jobqueue.dashboard.schedules.words import schedule_text, times_in_words

BERLIN = "Europe/Berlin"


def schedule(*runs: str, **fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"cron": None, "every": None, "timezone": "UTC", "paused": False, "job": {"type": "report"}}
    last: dict[str, Any] = {"lastRuns": [], "lastSkipped": None, "nextAt": None}
    return {"name": "s", "nextRuns": list(runs), **base, **last, **fields}


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        ("30 2 * * 1-5", "Mondays to Fridays at 02:30"),
        ("0 6,18 * * MON,WED,5", "Mondays, Wednesdays and Fridays at 06:00 and 18:00"),
        ("0 5 * * 5-7", "Fridays to Sundays at 05:00"),
        ("0 5 * * 0-6", "Every day at 05:00"),
        ("0 5 1 * 1", "At 05:00, on day 1 of the month, or on Monday"),
        ("30 2 * * *", "Every day at 02:30"),
        ("@daily", "Every day at 00:00"),
        ("*/5 * * * * *", "Every 5 seconds"),
        ("0 18 L * *", "At 18:00, on the last day of the month"),
        ("0 6 * * MON#2", "At 06:00, on the second Monday of the month"),
        ("0 0 * * 7", "Sundays at 00:00"),
    ],
)
def test_times_are_told_in_words(cron: str, text: str) -> None:
    assert times_in_words(schedule(cron=cron)) == text


def test_a_distance_is_told_in_its_units() -> None:
    assert times_in_words(schedule(every=5400)) == "Every 1 h 30 min"


def test_runs_are_told_in_the_zone_of_the_schedule_and_of_the_visitor() -> None:
    given = schedule("2026-12-01T01:30:00.000Z", "2026-12-01T23:30:00Z", cron="30 2 * * *", timezone=BERLIN)
    now = datetime(2026, 11, 30, tzinfo=UTC)
    runs = schedule_text(given, now, Preferences(zone_name="America/New_York")).next_runs
    assert [(run.local, run.own) for run in runs] == [
        ("Tue 1 Dec 02:30", "Mon 30 Nov 20:30 in New York"),
        ("Wed 2 Dec 00:30", "Tue 1 Dec 18:30 in New York"),
    ]
    at_home = schedule_text(given, now, Preferences(zone_name=BERLIN))
    assert (at_home.next_runs[0].own, at_home.zone) == ("", "Berlin")


def test_a_run_in_another_year_names_it() -> None:
    given = schedule("2026-12-31T23:30:00Z", "2028-02-29T00:00:00Z", cron="0 0 29 2 *", timezone=BERLIN)
    now = datetime(2026, 12, 31, 22, 30, tzinfo=UTC)
    runs = schedule_text(given, now, Preferences(zone_name="UTC")).next_runs
    assert [run.local for run in runs] == ["Fri 1 Jan 2027 00:30", "Tue 29 Feb 2028 01:00"]
    often = schedule_text(schedule(cron="15 1,9 * * *", timezone=BERLIN), now, Preferences())
    assert often.change == "28 Mar 2027: clocks go forward; it runs first at 01:15"


def test_days_on_which_clocks_change_are_marked() -> None:
    now = datetime(2027, 3, 26, tzinfo=UTC)
    runs = ("2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z")
    text = schedule_text(schedule(*runs, cron="30 2 * * *", timezone=BERLIN), now, Preferences(zone_name=BERLIN))
    assert [run.change for run in text.next_runs] == ["", "clocks go forward", ""]
    # 02:30 does not exist on this day: the run is at the end of the gap.
    assert text.change == "28 Mar 2027: clocks go forward; it runs at 03:00"
    weekdays = schedule(cron="30 2 * * 1-5", timezone=BERLIN)
    assert schedule_text(weekdays, now, Preferences()).change == "28 Mar 2027: clocks go forward; no run that day"
    autumn = datetime(2027, 10, 1, tzinfo=UTC)
    assert schedule_text(weekdays, autumn, Preferences()).change.startswith("31 Oct 2027: clocks go back")
    assert schedule_text(schedule(cron="0 0 * * *"), now, Preferences()).change == ""
