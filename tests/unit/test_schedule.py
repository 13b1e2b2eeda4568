"""When a schedule has its ticks, and what becomes of those that nobody was there for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.job import NewJob
from jobqueue.domain.schedule import Definition, Schedule, due, next_ticks, read, resumed

from .domain_strategies import garbage, modest

JOB = NewJob(type="a")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ticks(cron: str, zone: str, start: str, count: int) -> list[str]:
    """Return ticks after a local time, in the zone's own time."""
    begin = at(start).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = next_ticks(Definition(job=JOB, cron=cron, timezone=zone), begin, begin, count)
    return [one.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z") for one in found]


def schedule(definition: Definition, next_at: datetime, anchor: datetime = NEW_YEAR) -> Schedule:
    return Schedule(
        name="s", definition=definition, incarnation="0" * 24, anchor=anchor, next_at=next_at, changed_at=anchor
    )


@pytest.mark.parametrize(
    ("cron", "zone", "start", "wanted"),
    [
        # The hour from 2 to 3 does not exist: what falls into it comes once, right after it.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T03:00",
            ["29 03:00 +0200", "30 02:30 +0200"],
        ),
        ("30 2 * * *", "America/New_York", "2026-03-07T03:00", ["08 03:00 -0400", "09 02:30 -0400"]),
        # That hour comes twice: a daily job comes once, one for every half an hour does not stop.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T03:00", ["25 02:30 +0200", "26 02:30 +0100"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T03:00", ["01 01:30 -0400", "02 01:30 -0500"]),
        (
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:40",
            ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100", "25 03:00 +0100"],
        ),
        (
            "0 * * * *",
            "America/New_York",
            "2026-11-01T00:30",
            ["01 01:00 -0400", "01 01:00 -0500", "01 02:00 -0500"],
        ),
        ("0 12 * * *", "Europe/Berlin", "2026-03-28T00:00", ["28 12:00 +0100", "29 12:00 +0200"]),
    ],
)
def test_the_nights_in_which_clocks_change_have_neither_too_many_ticks_nor_too_few(
    cron: str, zone: str, start: str, wanted: list[str]
) -> None:
    assert ticks(cron, zone, start, len(wanted)) == wanted


@pytest.mark.parametrize(
    ("nickname", "wanted"),
    [
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("@monthly", "2026-02-01T00:00"),
        ("@weekly", "2026-01-04T00:00"),
        ("@daily", "2026-01-02T00:00"),
        ("@midnight", "2026-01-02T00:00"),
        ("@hourly", "2026-01-01T01:00"),
        ("@Daily ", "2026-01-02T00:00"),
        ("*/10 * * * * *", "2026-01-01T00:00:10"),
    ],
)
def test_nicknames_and_seconds_are_understood(nickname: str, wanted: str) -> None:
    definition = Definition(job=JOB, cron=nickname)
    assert definition.next_after(NEW_YEAR, NEW_YEAR) == at(wanted).replace(tzinfo=UTC)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
CRONS = ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * *", "15 1 * * SUN", "0 0 1 * *", "*/20 * * * * *"]


@modest
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), st.integers(0, 10**9))
def test_each_tick_is_later_than_the_one_before(cron: str, zone: str, seconds: int) -> None:
    definition = Definition(job=JOB, cron=cron, timezone=zone)
    moment = NEW_YEAR + timedelta(seconds=seconds % (4 * 366 * 86_400))
    for _ in range(20):
        tick = definition.next_after(moment, NEW_YEAR)
        assert tick is not None
        assert tick > moment
        moment = tick


@modest
@given(st.floats(1, 10**6) | st.integers(1, 10**6), st.floats(0, 10**8))
def test_an_interval_counts_from_when_the_schedule_was_made(every: float, seconds: float) -> None:
    definition = Definition(job=JOB, every=every)
    moment = NEW_YEAR + timedelta(seconds=seconds)
    tick = definition.next_after(moment, NEW_YEAR)
    assert tick is not None
    assert timedelta(0) < tick - moment <= timedelta(seconds=every, microseconds=2)
    count = (tick - NEW_YEAR).total_seconds() / every
    assert abs(count - round(count)) < 1e-3


MINUTES = Definition(job=JOB, every=60)


def minute(number: float) -> datetime:
    return NEW_YEAR + timedelta(minutes=number)


@pytest.mark.parametrize(("missed", "wanted"), [("skip", [10]), ("one", [9, 10]), ("all", [*range(1, 10), 10])])
def test_what_was_missed_is_made_up_for_as_it_says(missed: Any, wanted: list[int]) -> None:
    definition = Definition(job=JOB, every=60, missed=missed)
    found = due(schedule(definition, minute(1)), minute(10.2))
    assert (list(found.ticks), found.next_at) == ([minute(one) for one in wanted], minute(11))


def test_nothing_is_due_before_its_time_and_a_tick_in_time_is_not_missed() -> None:
    definition = Definition(job=JOB, every=60, missed="skip")
    assert due(schedule(definition, minute(1)), minute(0.99)).ticks == ()
    assert due(schedule(definition, minute(1)), minute(1)).ticks == (minute(1),)
    assert due(schedule(definition, minute(1)), minute(1.4)).ticks == (minute(1),)
    assert due(schedule(definition, minute(1)), minute(1.6)).ticks == ()
    daily = Definition(job=JOB, cron="@daily", missed="skip")
    assert due(schedule(daily, minute(0)), minute(0.9)).ticks == (minute(0),)
    assert due(schedule(daily, minute(0)), minute(1.1)).ticks == ()


@pytest.mark.parametrize(("missed", "counts"), [("all", [1000, 1000, 501]), ("one", [0, 0, 2]), ("skip", [0, 0, 1])])
def test_very_many_missed_ticks_are_taken_a_thousand_at_a_time(missed: Any, counts: list[int]) -> None:
    definition = Definition(job=JOB, every=60, missed=missed)
    current, made = schedule(definition, minute(1)), []
    while current.next_at is not None and current.next_at <= minute(2501):
        found = due(current, minute(2501))
        made.append(found.ticks)
        assert found.next_at is not None
        current = schedule(definition, found.next_at)
    assert [len(one) for one in made] == counts
    assert made[-1][-1] == minute(2501)


def test_only_what_changes_the_ticks_computes_the_next_one_anew() -> None:
    before = schedule(MINUTES, minute(7))
    now = minute(20.5)
    assert resumed(before, Definition(job=NewJob(type="b"), every=60, missed="all"), now) == minute(7)
    assert resumed(before, Definition(job=JOB, every=120), now) == minute(22)
    assert resumed(before, Definition(job=JOB, cron="@hourly"), now) == minute(60)
    paused = schedule(Definition(job=JOB, every=60, paused=True), minute(7))
    assert resumed(paused, MINUTES, now) == minute(21)


@pytest.mark.parametrize(
    ("given_form", "paths"),
    [
        ({}, {"job", "cron"}),
        ({"cron": "* * * * *", "every": 5}, {"cron"}),
        ({"cron": "x"}, {"cron"}),
        ({"cron": "0 0 30 2 *"}, {"cron"}),
        ({"cron": 5}, {"cron"}),
        ({"cron": "@reboot"}, {"cron"}),
        ({"every": 0.5}, {"every"}),
        ({"every": True}, {"every"}),
        ({"every": "5"}, {"every"}),
        ({"every": 10**9}, {"every"}),
        ({"cron": "@daily", "timezone": "Mars/Olympus"}, {"timezone"}),
        ({"cron": "@daily", "timezone": "../../etc/passwd"}, {"timezone"}),
        ({"cron": "@daily", "timezone": "/usr/share/zoneinfo/UTC"}, {"timezone"}),
        ({"cron": "@daily", "timezone": "Europe"}, {"timezone"}),
        ({"cron": "@daily", "timezone": ["UTC"]}, {"timezone"}),
        ({"cron": "@daily", "missed": "some"}, {"missed"}),
        ({"cron": "@daily", "missed": []}, {"missed"}),
        ({"cron": "@daily", "paused": 1}, {"paused"}),
        ({"cron": "@daily", "pause": True}, {"pause"}),
        ({"cron": "@daily", "job": {"type": ""}}, {"job.type"}),
        ({"cron": "@daily", "job": [{"type": "a"}]}, {"job"}),
        ({"cron": "@daily", "job": {"type": "a", "dependsOn": ["0" * 24]}}, {"job"}),
    ],
)
def test_a_wrong_definition_is_refused_by_name(given_form: dict[str, Any], paths: set[str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read({"job": {"type": "a"}, **given_form} if given_form else {})
    assert set(caught.value.problems) == paths


@modest
@given(st.sampled_from(["cron", "every", "timezone", "missed", "paused", "job"]), garbage)
def test_garbage_raises_nothing_but_invalid_input_errors(name: str, value: Any) -> None:
    try:
        read({"cron": "@daily", "job": {"type": "a"}, name: value})
    except InvalidInputError as error:
        assert error.problems  # noqa: PT017 - only some garbage is refused


def test_what_is_shown_can_be_read_again() -> None:
    definition = Definition(job=NewJob(type="a", data={"n": 1}, attempts=5), cron="0 3 * * *", timezone="Asia/Tokyo")
    assert read(definition.wire()) == definition
