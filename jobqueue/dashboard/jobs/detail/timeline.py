"""The timeline of a job: a lane for each attempt, a row for each step, on a scale whose long gaps are cut."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import coarse, parsed, shorten, span
from jobqueue.dashboard.jobs.detail.scale import Cut, Interval, Scale, Tick
from jobqueue.dashboard.jobs.detail.starts import Start, runs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.dashboard.frame.preferences import Preferences

LANES: Final = 12
STEPS: Final = 12
_MOST_BARS: Final = 50
"""Bars of all lanes and steps."""
_STILL: Final = 32
_MOST_RUNS: Final = 6
_MOST_MARKS: Final = 200
"""Entries of the history in which requeues are looked for."""
_TOP: Final = 34
_ROW: Final = 24
_NARROW: Final = 0.3
"""Percent of the width of the narrowest bar."""
_NOTE: Final = 44
_CHARACTER: Final = 0.8
"""Percent of the width that a character takes at most, on the narrowest picture."""
_LEAST_NOTE: Final = 12
_APART: Final = 9.0
"""Percent between the labels of two marks."""
_FOOT: Final = 36
"""Pixels for the words about cuts."""
_LABEL: Final = 40
_RIGHT: Final = 62.0
"""A note stands before a bar that ends further right than this, so that it stays in the picture."""
_GAP: Final = 0.6
_WAITS: Final = frozenset({"sleep", "signal", "call", "map"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar: a state class, or an empty one for a time of waiting."""

    x: float
    width: float
    look: str
    title: str


@dataclass(slots=True, kw_only=True)
class Row:
    """A lane or a step.

    Attributes:
        look: the state whose shape stands before the label; empty for none.
        note: a text beside the last bar.
        late: places of late reports.
    """

    label: str
    y: int
    look: str = ""
    bars: list[Bar] = field(default_factory=list)
    note: str = ""
    note_x: float = 0.0
    is_before: bool = False
    late: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment that concerns the whole job, such as a requeue."""

    x: float
    text: str
    is_before: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A picture of the starts and steps; places are percent of its width, heights pixels.

    Attributes:
        cuts: each with a word for what happened in it.
        left_out: the number of older lanes that are not shown.
        steps_left_out: the number of steps that are not shown.
        runs: numbers of the runs to choose from.
        run: the chosen run; 0 for all.
        split: the height between lanes and steps; 0 without steps.
    """

    rows: Sequence[Row]
    ticks: Sequence[Tick]
    cuts: Sequence[tuple[Cut, str]]
    marks: Sequence[Mark]
    height: int
    split: int
    left_out: int
    steps_left_out: int
    runs: Sequence[int]
    run: int
    label: str


def timeline(
    job: Mapping[str, Any], found: Sequence[Start], now: datetime, preferences: Preferences, run: int = 0
) -> Timeline | None:
    """Return the timeline of a job, or ``None`` if the job has not been started.

    Args:
        job: in its JSON form.
        found: its starts.
        now: the present.
        preferences: the time zone of the scale.
        run: the only run to show; 0 for all.
    """
    runs = runs_of(found)
    now = _rounded(now, parsed(job.get("insertAt")) or now)
    run = run if 1 <= run <= runs else 0
    lanes = _lanes([start for start in found if start.begin and run in {0, start.run}])
    if not lanes:
        return None
    shown = lanes[-LANES:]
    scale = Scale(_busy(job, shown, now, is_whole=not run and len(shown) == len(lanes)), preferences)
    begin = shown[0][0].begin or now
    steps = _some_steps(job, begin) if run in {0, runs} else []
    bars = max(2, _MOST_BARS // (len(shown) + len(steps)))
    rows = [_lane(lane, scale, index, now, runs, bars) for index, lane in enumerate(shown)]
    rows += [_step(step, scale, len(rows) + index, begin, now, found[-bars:]) for index, step in enumerate(steps)]
    height = _TOP + _ROW * len(rows) - 6 + (_FOOT if scale.cuts else 0)
    return Timeline(
        rows=rows,
        ticks=scale.ticks,
        cuts=[(cut, _word(cut, rows)) for cut in scale.cuts],
        marks=_marks(found, scale, begin, run),
        height=height,
        split=_TOP + _ROW * len(shown) - 6 if steps else 0,
        left_out=len(lanes) - len(shown),
        steps_left_out=len(job.get("steps") or ()) - len(steps) if run in {0, runs} else 0,
        runs=range(max(1, runs - _MOST_RUNS + 1), runs + 1) if runs > 1 else (),
        run=run,
        label=f"{sum(map(len, shown))} starts and {len(steps)} steps; the table below has the same content",
    )


def _rounded(now: datetime, since: datetime) -> datetime:
    """Return a present that moves in steps of about a fiftieth of what is shown, so that the picture keeps still."""
    seconds = (now - since).total_seconds()
    if seconds < _STILL:
        return now
    step = 2.0 ** math.floor(math.log2(seconds / _STILL))
    return since + timedelta(seconds=math.ceil(seconds / step) * step)


def _lanes(found: Sequence[Start]) -> list[list[Start]]:
    """Return the starts by lane: what goes on after a suspension is in the lane of the start before."""
    lanes: list[list[Start]] = []
    for start in found:
        if lanes and start.is_resumed and lanes[-1][-1].run == start.run:
            lanes[-1].append(start)
        else:
            lanes.append([start])
    return lanes


def _busy(job: Mapping[str, Any], lanes: Sequence[Sequence[Start]], now: datetime, *, is_whole: bool) -> list[Interval]:
    busy = [(start.begin, start.end or now) for lane in lanes for start in lane if start.begin is not None]
    added = parsed(job.get("insertAt"))
    if is_whole and added is not None:
        busy.append((added, added))
    if job.get("state") not in {"success", "failed", "killed"}:
        busy.append((now, now))
    return [(begin, max(begin, end)) for begin, end in busy]


def _lane(lane: Sequence[Start], scale: Scale, index: int, now: datetime, runs: int, bars: int) -> Row:
    first, last = lane[0], lane[-1]
    row = Row(label=first.name(runs), y=_TOP + _ROW * index)
    for start, after in pairwise(lane[-max(2, bars // 2) :]):
        row.bars.append(_run_bar(start, scale, now))
        if start.end and after.begin:
            text = f"Suspended for {span((after.begin - start.end).total_seconds())}"
            row.bars.append(_bar(scale, start.end, after.begin, "", text))
    row.bars.append(_run_bar(last, scale, now))
    row.late = [scale.place(at) for start in lane if (at := parsed(start.late.get("at"))) is not None]
    message = str(last.error.get("message") or "")
    _add_note(row, message or (span(last.seconds) if last.seconds is not None else ""), scale)
    return row


def _run_bar(start: Start, scale: Scale, now: datetime) -> Bar:
    begin, end = start.begin or now, start.end or now
    look = "processing" if start.outcome in {"suspend", ""} else start.look
    length = coarse((end - begin).total_seconds()) if start.end is None else span(start.seconds)
    title = f"Start {start.number}, attempt {start.attempt}: {start.word} {'after' if start.end else 'for'} {length}"
    return _bar(scale, begin, end, look, title)


def _bar(scale: Scale, begin: datetime, end: datetime, look: str, title: str) -> Bar:
    x = min(scale.place(begin), 100 - _NARROW)
    return Bar(x=x, width=max(scale.place(end) - x, _NARROW), look=look, title=title)


def _add_note(row: Row, text: str, scale: Scale) -> None:
    """Put a text beside the bars of a row, on the side with more room, and not over a cut."""
    begin, end = min(bar.x for bar in row.bars), max(bar.x + bar.width for bar in row.bars)
    right = min([100.0, *(cut.x for cut in scale.cuts if cut.x >= end - _GAP)]) - end - _GAP
    left = begin - _GAP - max([0.0, *(cut.x + cut.width for cut in scale.cuts if cut.x + cut.width <= begin + _GAP)])
    fits = min(len(text), _NOTE) * _CHARACTER
    row.is_before = right < fits and left > right
    row.note_x = begin - _GAP if row.is_before else end + _GAP
    most = int(max(left, right) / _CHARACTER) if right < fits else _NOTE
    row.note = shorten(text, min(most, _NOTE)) if most >= _LEAST_NOTE else ""


def _word(cut: Cut, rows: Sequence[Row]) -> str:
    waits = (bar for row in rows for bar in row.bars if not bar.look)
    is_wait = any(bar.x < cut.x + cut.width and bar.x + bar.width > cut.x for bar in waits)
    return "waited" if is_wait else "nothing for"


def _some_steps(job: Mapping[str, Any], since: datetime) -> list[Mapping[str, Any]]:
    """Return the steps to show: those under way, and the last ones that have finished since a time."""
    steps = [step for step in job.get("steps") or () if (parsed(step.get("endAt")) or since) >= since]
    if len(steps) <= STEPS:
        return steps
    going = [step for step in steps if not step.get("endAt")][-STEPS:]
    done = [step for step in steps if step.get("endAt")]
    kept = {id(step) for step in [*going, *done[len(done) - (STEPS - len(going)) :]]}
    return [step for step in steps if id(step) in kept]


def _step(
    step: Mapping[str, Any], scale: Scale, index: int, first: datetime, now: datetime, found: Sequence[Start]
) -> Row:
    name, kind = str(step.get("name")), str(step.get("kind"))
    begin, end = parsed(step.get("startAt")), parsed(step.get("endAt"))
    row = Row(label=shorten(name, _LABEL), y=_TOP + _ROW * index, look=step_look(step))
    for start in found:
        if start.end and start.end >= first and start.error.get("step") == name:
            since = begin if begin and start.begin and start.begin <= begin <= start.end and not end else start.end
            row.bars.append(_bar(scale, since, start.end, "failed", f"{name} failed in attempt {start.attempt}"))
    is_wait = kind in _WAITS
    if begin and (end or not row.bars) and (end or now) >= first:
        seconds = ((end or now) - begin).total_seconds()
        text = span(seconds) if end else coarse(seconds)
        done = "" if is_wait else ("success" if end else "processing")
        row.bars.append(_bar(scale, max(begin, first), end or now, done, f"{name}: {text}"))
    if row.bars:
        _add_note(row, step_note(step, now), scale)
    return row


def step_look(step: Mapping[str, Any]) -> str:
    """Return the state that stands for a step."""
    if step.get("error"):
        return "failed"
    if step.get("endAt"):
        return "success"
    return "delayed" if step.get("kind") in _WAITS else "processing"


def step_note(step: Mapping[str, Any], now: datetime) -> str:
    """Return a few words about a step: its children, its tries, and its length."""
    begin, end = parsed(step.get("startAt")), parsed(step.get("endAt"))
    parts = []
    if (children := step.get("jobIds")) is not None:
        parts.append(f"{children:,} {'child' if children == 1 else 'children'}")
    if int(step.get("tries") or 1) > 1:
        parts.append(f"{step['tries']} tries")
    if begin and (end or not step.get("error")):
        seconds = ((end or now) - begin).total_seconds()
        parts.append(span(seconds) if end else coarse(seconds))
    if not end and step.get("kind") == "signal":
        parts.append("waits for an answer")
    return " · ".join(parts)


def _marks(found: Sequence[Start], scale: Scale, first: datetime, run: int) -> list[Mark]:
    marks: list[Mark] = []
    for start in found[-_MOST_MARKS:]:
        if not start.number and start.end is not None and start.end >= first and run in {0, start.run}:
            x = scale.place(start.end)
            is_apart = not marks or x - marks[-1].x >= _APART
            marks.append(Mark(x=x, text="requeued" if is_apart else "", is_before=x > _RIGHT))
    return marks
