"""Parts of the page of a job: cut gaps of time, values that fit, words that differ."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from jobqueue.dashboard.frame.preferences import Preferences
from jobqueue.dashboard.jobs.detail.room import Room, fitting
from jobqueue.dashboard.jobs.detail.scale import Scale
from jobqueue.dashboard.jobs.detail.starts import starts
from jobqueue.dashboard.jobs.detail.timeline import timeline
from jobqueue.dashboard.jobs.detail.tree import Bounds, at, below, node
from jobqueue.dashboard.jobs.detail.trouble import trouble

BEGIN = datetime(2026, 11, 21, 9, tzinfo=UTC)
TRACE = """Traceback (most recent call last):
  File "/usr/lib/python3.11/site-packages/lib/task.py", line 8, in run
    return await function(job)
  File "/app/imports/prices.py", line 41, in validate
    rate = parse(row)
  File "/app/imports/prices.py", line 88, in parse
    return Decimal(text)
decimal.InvalidOperation: ConversionSyntax
"""


def after(**span: float) -> datetime:
    return BEGIN + timedelta(**span)


def entry(begin: datetime, minutes: float, outcome: str = "fail", **more: Any) -> dict[str, Any]:
    end = begin + timedelta(minutes=minutes)
    return {"attempt": 1, "startAt": begin.isoformat(), "endAt": end.isoformat(), "outcome": outcome} | more


def test_a_gap_of_days_is_cut_and_does_not_squeeze_what_happened() -> None:
    scale = Scale([(BEGIN, after(minutes=30)), (after(days=3), after(days=3, minutes=30))], Preferences())
    [cut] = scale.cuts
    assert cut.text == "2 d 23 h"
    assert [round(part.right - part.left) for part in scale.parts] == [45, 45]
    assert cut.x < scale.place(after(days=1)) < cut.x + cut.width
    assert scale.place(after(days=3, minutes=30)) == pytest.approx(100)


def test_a_short_gap_is_not_cut_and_marks_are_round_times_of_the_zone() -> None:
    scale = Scale(
        [(BEGIN, after(minutes=30)), (after(minutes=35), after(minutes=60))], Preferences(zone_name="Asia/Kolkata")
    )
    assert not scale.cuts
    assert [tick.text for tick in scale.ticks][:3] == ["14:35", "14:40", "14:45"]
    assert scale.place(after(minutes=30)) == pytest.approx(50)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**6)), min_size=1, max_size=40))
def test_later_times_are_never_further_left(spans: list[tuple[int, int]]) -> None:
    busy = [(after(seconds=begin), after(seconds=begin + length)) for begin, length in spans]
    scale = Scale(busy, Preferences())
    moments = sorted(moment for interval in busy for moment in interval)
    places = [scale.place(moment) for moment in moments]
    assert places == sorted(places)
    assert all(-0.01 <= place <= 100.01 for place in places)
    assert len(scale.ticks) <= 20


def test_a_run_of_milliseconds_has_marks_too() -> None:
    scale = Scale([(after(milliseconds=3), after(milliseconds=40))], Preferences())
    assert [tick.text for tick in scale.ticks][:2] == ["09:00:00.010", "09:00:00.015"]


def test_a_suspension_and_what_follows_share_a_lane_and_a_requeue_begins_a_run() -> None:
    history = [
        entry(BEGIN, 2, "suspend", steps=["fetch"]),
        entry(after(minutes=20), 2),
        {"attempt": 1, "endAt": after(minutes=30).isoformat(), "outcome": "requeue", "startAt": None},
        entry(after(minutes=31), 2, "success", late={"outcome": "fail", "at": after(minutes=40).isoformat()}),
    ]
    job = {"history": history, "state": "success", "insertAt": BEGIN.isoformat()}
    found = starts(job)
    assert [start.name(2) for start in found] == [
        "Run 1, attempt 1",
        "Run 1, attempt 1",
        "Run 2, requeued",
        "Run 2, attempt 1",
    ]
    picture = timeline(job, found, after(hours=1), Preferences())
    assert picture is not None
    assert [[bar.look for bar in row.bars] for row in picture.rows] == [["processing", "", "failed"], ["success"]]
    assert [mark.text for mark in picture.marks] == ["requeued"]
    assert len(picture.rows[1].late) == 1
    only = timeline(job, found, after(hours=1), Preferences(), run=2)
    assert only is not None
    assert len(only.rows) == 1


def test_the_picture_of_a_running_job_keeps_still_for_a_while() -> None:
    job = {
        "history": [entry(BEGIN, 0) | {"endAt": None, "outcome": None}],
        "state": "processing",
        "insertAt": BEGIN.isoformat(),
    }
    pictures = [timeline(job, starts(job), after(seconds=3000 + second), Preferences()) for second in range(1, 40)]
    assert len({str(picture) for picture in pictures}) <= 2


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.integers(0, 200))
def test_a_text_takes_no_more_than_its_bytes(text: str, most: int) -> None:
    part = fitting(text, most)
    assert text.startswith(part)
    assert len(escape(part).encode()) <= most
    assert part == text or len(escape(text).encode()) > most


def test_a_tree_shows_exact_numbers_and_says_what_it_leaves_out() -> None:
    value = {
        "id": 90071992547409931,
        "rate": 0.1,
        "on": True,
        "none": None,
        "list": list(range(500)),
        "a/b~": {"x": "y" * 999},
    }
    tree = node("data", value, Room(8000), Bounds(), pointer="/data")
    parts = {part.key: part for part in tree.parts}
    assert [parts[name].text for name in ("id", "rate", "on", "none")] == ["90071992547409931", "0.1", "true", "null"]
    assert (len(parts["list"].parts), parts["list"].left_out) == (40, 460)
    cut = parts["a/b~"].parts[0]
    assert (cut.is_cut, cut.size, cut.pointer) == (True, 999, "/data/a~1b~0/x")
    assert at({"data": value}, cut.pointer) == "y" * 999
    assert below("/data", "a/b~") == "/data/a~1b~0"
    for wrong in ("/data/list/500", "/data/list/-1", "/data/none/x", "/data/nothing"):
        with pytest.raises(LookupError):
            at({"data": value}, wrong)


def test_own_frames_come_first_and_words_that_differ_are_marked() -> None:
    errors = [
        {"kind": "Invalid", "message": f'row {row}: "{rate}" is no number', "trace": TRACE}
        for row, rate in ((1204, "19"), (1377, "7"))
    ]
    job = {"error": errors[1], "history": [entry(BEGIN, 1, error=errors[0]), entry(after(hours=1), 1, error=errors[1])]}
    shown = trouble(job, starts(job), 1, Room(9000))
    assert shown is not None
    assert [f"{frame.path}:{frame.line} {frame.function}" for frame in shown.frames] == [
        "/app/imports/prices.py:88 parse",
        "/app/imports/prices.py:41 validate",
    ]
    assert (shown.foreign, shown.last) == (1, "decimal.InvalidOperation: ConversionSyntax")
    assert [text for text, differs in shown.removed if differs] == ["1204", "19"]
    assert [text for text, differs in shown.added if differs] == ["1377", "7"]
