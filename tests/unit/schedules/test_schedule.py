"""When schedules come, over the nights on which clocks change, and what is due after an absence."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import NAMED, Cron, Every, Recurrence, latest, upcoming
from jobqueue.domain.schedules.schedule import Missed, Schedule, due, read
from tests.unit.jobs.domain_strategies import garbage, modest

NOW = datetime(2026, 7, 1, 12, 0, 10, tzinfo=UTC)
JOB = {"type": "report"}
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(cron: str, zone: str, begin: str, count: int) -> list[str]:
    found = upcoming(Cron(text=cron, timezone=zone), at(begin), count=count)
    return [one.replace(tzinfo=None).isoformat(timespec="minutes") for one in found]


def read_job(given: Any, path: str) -> NewJob:
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise InvalidInputError({f"{path}.type": ["is required"]})
    try:
        return NewJob(**given)
    except TypeError:
        raise InvalidInputError({path: ["is none"]}) from None
    except InvalidInputError as error:
        raise error.under(path) from None


def make(missed: Missed = "one", recurrence: Recurrence | None = None) -> Schedule:
    return Schedule(name="s", job=NewJob(type="a"), recurrence=recurrence or Every(seconds=60), missed=missed)


@pytest.mark.parametrize(
    ("cron", "zone", "begin", "expected"),
    [
        # Berlin: on 29 March 02:00 becomes 03:00, at 01:00 UTC; on 25 October 03:00 becomes 02:00, at 01:00 UTC.
        ("30 2 * * *", "Europe/Berlin", "03-28T00:00", ["03-28T01:30", "03-29T01:00", "03-30T00:30"]),
        ("0,30 2 * * *", "Europe/Berlin", "03-28T20:00", ["03-29T01:00", "03-30T00:00"]),
        ("0 3 * * *", "Europe/Berlin", "03-28T20:00", ["03-29T01:00", "03-30T01:00"]),
        ("0 * * * *", "Europe/Berlin", "03-28T23:30", ["03-29T00:00", "03-29T01:00", "03-29T02:00"]),
        ("30 2 * * *", "Europe/Berlin", "10-24T00:00", ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),
        ("30 2 * * *", "Europe/Berlin", "10-25T00:45", ["10-26T01:30"]),
        ("45 2 * * *", "Europe/Berlin", "10-25T01:15", ["10-26T01:45"]),
        ("0 30 2 * * *", "Europe/Berlin", "10-25T00:00", ["10-25T00:30", "10-26T01:30"]),
        ("0 30 2 * * *", "Europe/Berlin", "03-28T12:00", ["03-29T01:00", "03-30T00:30"]),
        ("0 * * * *", "Europe/Berlin", "10-24T23:30", ["10-25T00:00", "10-25T01:00", "10-25T02:00"]),
        ("*/30 2 * * *", "Europe/Berlin", "10-24T23:30", ["10-25T00:00", "10-25T00:30", "10-25T01:00"]),
        # New York: on 8 March 02:00 becomes 03:00, at 07:00 UTC; on 1 November 02:00 becomes 01:00, at 06:00 UTC.
        ("30 2 * * *", "America/New_York", "03-07T12:00", ["03-08T07:00", "03-09T06:30"]),
        ("30 1 * * *", "America/New_York", "03-07T12:00", ["03-08T06:30", "03-09T05:30"]),
        ("@hourly", "America/New_York", "03-08T05:30", ["03-08T06:00", "03-08T07:00", "03-08T08:00"]),
        ("30 1 * * *", "America/New_York", "10-31T12:00", ["11-01T05:30", "11-02T06:30"]),
        ("15,45 1 * * *", "America/New_York", "11-01T06:20", ["11-02T06:15", "11-02T06:45"]),
        ("@hourly", "America/New_York", "11-01T04:30", ["11-01T05:00", "11-01T06:00", "11-01T07:00"]),
        ("@daily", "America/New_York", "10-31T12:00", ["11-01T04:00", "11-02T05:00"]),
    ],
)  # fmt: skip
def test_nights_on_which_clocks_change(cron: str, zone: str, begin: str, expected: list[str]) -> None:
    assert times(cron, zone, f"2026-{begin}", len(expected)) == [f"2026-{one}" for one in expected]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("@monthly", "2026-08-01T00:00"),
        ("@weekly", "2026-07-05T00:00"),
        ("@daily", "2026-07-02T00:00"),
        ("@midnight", "2026-07-02T00:00"),
        ("@Hourly", "2026-07-01T13:00"),
        ("*/15 * * * *", "2026-07-01T12:15"),
        ("0 9 * * MON#1", "2026-07-06T09:00"),
        ("0 0 L * *", "2026-07-31T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("30 0 12 * * *", "2026-07-02T12:00"),
    ],
)
def test_what_can_be_said_by_cron(cron: str, expected: str) -> None:
    assert times(cron, "UTC", "2026-07-01T12:00:30", 1) == [expected]


def test_every_is_counted_from_its_anchor_whatever_happens_in_between() -> None:
    every = Every(seconds=90)
    assert every.next_after(NOW, NOW) == NOW + timedelta(seconds=90)
    assert every.next_after(NOW + timedelta(seconds=90), NOW) == NOW + timedelta(seconds=180)
    assert every.next_after(NOW + timedelta(days=1, seconds=1), NOW) == NOW + timedelta(days=1, seconds=90)
    assert every.next_after(NOW - timedelta(days=1), NOW) == NOW + timedelta(seconds=90)
    assert [Every(seconds=60.0).seconds, Every(seconds=1.00004).seconds, Every(seconds=1.5).seconds] == [60, 1, 1.5]


@pytest.mark.parametrize(
    ("given_definition", "names"),
    [
        ({}, {"cron", "job"}),
        ({"cron": "@daily", "every": 5, "job": JOB}, {"every"}),
        ({"cron": "0 0 30 2 *", "job": JOB}, {"cron"}),
        ({"cron": "0 0 * *", "job": JOB}, {"cron"}),
        ({"cron": "@reboot", "job": JOB}, {"cron"}),
        ({"cron": "* * * * * * *", "job": JOB}, {"cron"}),
        ({"cron": "61 * * * *", "timezone": "Mars/Base", "job": JOB}, {"cron", "timezone"}),
        ({"cron": ["@daily"], "job": JOB}, {"cron"}),
        ({"cron": "0 0 1/" + "0" * 5000 + " * *", "job": JOB}, {"cron"}),
        ({"every": 0.9, "job": JOB}, {"every"}),
        ({"every": 366 * 86_400 + 1, "job": JOB}, {"every"}),
        ({"every": True, "job": JOB}, {"every"}),
        ({"every": "60", "job": JOB}, {"every"}),
        ({"every": 60, "timezone": "Europe/Berlin", "job": JOB}, {"timezone"}),
        ({"every": 60, "job": {}}, {"job.type"}),
        ({"every": 60, "job": []}, {"job.type"}),
        ({"every": 60, "job": {**JOB, "delayTil": "2030-01-01"}}, {"job", "job.delayTil"}),
        ({"every": 60, "job": {**JOB, "priority": "high"}}, {"job.priority"}),
        ({"every": 60, "job": JOB, "missed": ["all"], "paused": 1, "jobs": []}, {"missed", "paused", "jobs"}),
    ],
)
def test_what_is_wrong_is_told_by_name(given_definition: dict[str, Any], names: set[str]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read("s", given_definition, read_job)
    assert set(caught.value.problems) == names


@pytest.mark.parametrize(
    "zone",
    [
        *("", ".", "..", "../UTC", "/etc/localtime", "America", "America/", "posix/UTC", "right/UTC", "posixrules"),
        *("tzdata.zi", "zone.tab", "leapseconds", "localtime", "+VERSION", "UTC\0", "Europe/Berlin\n", "Europe/../UTC"),
        *("x" * 5000, None, 5, "europe\\berlin", "\ud800", [], {}, "Etc", "C:/UTC"),
    ],
)
def test_what_is_no_time_zone_is_refused_whatever_file_it_is(zone: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Cron(text="@daily", timezone=zone)
    assert set(caught.value.problems) == {"timezone"}


@modest
@given(
    st.dictionaries(st.sampled_from(["cron", "timezone", "every", "job", "missed", "paused", "x"]), garbage), garbage
)
def test_garbage_is_invalid_input_and_nothing_else(definition: dict[str, Any], name: Any) -> None:
    with pytest.raises(InvalidInputError):
        read(name, {**definition, "missed": object()}, read_job)


field = st.text("0123456789*,-/#LW?MONJAN@ ²\u0663", max_size=7)


@modest
@given(st.lists(field, min_size=4, max_size=7).map(" ".join) | garbage, st.sampled_from(ZONES))
def test_what_looks_like_cron_can_be_followed_or_is_refused(text: Any, zone: str) -> None:
    with contextlib.suppress(InvalidInputError):
        found = upcoming(Cron(text=text, timezone=zone), NOW)
        assert found == sorted(set(found))
        assert found[0] > NOW


part = st.sampled_from(["*", "*/7", "*/15", "0", "30", "0,30", "15-20", "59"])
crons = st.builds(
    lambda second, minute, hour, day, weekday: f"{second}{minute} {hour} {day} * {weekday}",
    st.sampled_from(["", "", "0 ", "*/20 ", "* ", "30 "]),
    part,
    st.sampled_from(["*", "*/2", "1", "2", "0", "1,2", "1-3", "23"]),
    st.sampled_from(["*", "*", "1", "L", "25-31"]),
    st.sampled_from(["*", "*", "SUN", "MON-FRI", "0#1"]),
)
nights = st.sampled_from([at("2026-03-29"), at("2026-10-25"), at("2026-03-08"), at("2026-11-01"), at("2026-04-05")])
begins = st.builds(lambda night, seconds: night + timedelta(seconds=seconds), nights, st.floats(-90_000, 90_000))


@modest
@given(crons, st.sampled_from(ZONES), begins)
def test_times_follow_each_other_and_do_not_depend_on_where_one_begins(text: str, zone: str, begin: datetime) -> None:
    cron = Cron(text=text, timezone=zone)
    found = upcoming(cron, begin, count=12)
    assert found[0] > begin
    assert all(one < other for one, other in pairwise(found))
    for one, other in pairwise(found):
        assert cron.next_after(one + (other - one) / 2) == other
        assert cron.next_after(other - timedelta(milliseconds=1)) == other
    assert latest(cron, found[0], found[7], begin) == found[7]
    assert latest(cron, found[0], found[8] - timedelta(milliseconds=1), begin) == found[7]


@modest
@given(st.integers(1, 10**6) | st.floats(1, 10**6), st.integers(-(10**9), 10**9))
def test_fixed_intervals_follow_each_other(seconds: float, begin: int) -> None:
    every = Every(seconds=seconds)
    found = upcoming(every, NOW + timedelta(seconds=begin), NOW, count=4)
    assert found[0] > max(NOW, NOW + timedelta(seconds=begin))
    assert len({other - one for one, other in pairwise(found)}) == 1


@pytest.mark.parametrize(
    ("missed", "late", "made", "skipped"),
    [
        # Every minute: a tick is missed when it is more than half a minute late.
        ("skip", 29, 1, False),
        ("skip", 31, 0, True),
        ("skip", 600 + 29, 1, False),
        ("skip", 600 + 31, 0, True),
        ("one", 29, 1, False),
        ("one", 600 + 31, 1, False),
        ("all", 29, 1, False),
        ("all", 600 + 31, 11, False),
    ],
)
def test_what_is_made_after_an_absence(missed: Missed, late: int, made: int, skipped: bool) -> None:  # noqa: FBT001 - drawn from a table
    first = NOW + timedelta(minutes=5)
    found = due(make(missed), first, first + timedelta(seconds=late), NOW)
    last = first + timedelta(minutes=late // 60)
    assert found.ticks == tuple(last - timedelta(minutes=back) for back in reversed(range(made)))
    assert found.next_at == last + timedelta(minutes=1)
    assert (found.missed == last) is skipped


def test_a_rare_tick_is_missed_after_a_minute() -> None:
    rare = make("skip", Cron(text="@daily"))
    tick = at("2026-07-02")
    assert due(rare, tick, tick + timedelta(seconds=60), NOW).ticks == (tick,)
    assert due(rare, tick, tick + timedelta(seconds=61), NOW).ticks == ()


def test_all_that_was_missed_is_made_in_parts() -> None:
    first = NOW + timedelta(minutes=1)
    found = due(make("all"), first, NOW + timedelta(minutes=2500), NOW)
    assert (len(found.ticks), found.ticks[0], found.next_at) == (1000, first, NOW + timedelta(minutes=1001))


def test_an_absence_of_years_takes_no_time() -> None:
    every_second = make("one", Cron(text="* * * * * *", timezone="Europe/Berlin"))
    assert due(every_second, at("2016-01-01"), NOW, NOW).ticks == (NOW,)


def test_every_named_expression_is_one() -> None:
    for name, text in NAMED.items():
        assert upcoming(Cron(text=name), NOW) == upcoming(Cron(text=text), NOW)
