"""Drawings of graphs of jobs, as values for the macro ``graph`` in ``workflow/graph.html``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.workflow.layout import MOST_BOXES, depths, fold, followers, place
from jobqueue.domain.attempts.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.dashboard.workflow.layout import Box, Graph, Layout, Spot, Vertex

HEIGHT: Final = 52
_PAD: Final = 2
_LEAST: Final = 3.0
"""Pixels of the narrowest part of a bar: one failed job of thousands can be seen."""
_NARROW_BOXES: Final = 8
_LONGEST: Final = 40
"""Characters of a type or a note in the words of a box."""
_STATES: Final = tuple(state.value for state in State)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Sizes of a drawing in pixels; ``along`` and ``across`` are the distances of layers and of boxes in a layer."""

    width: int
    along: int
    across: int
    letters: int
    is_down: bool = False


_WIDE: Final = _Shape(width=196, along=260, across=HEIGHT + 20, letters=24)
_NARROW: Final = _Shape(width=158, along=HEIGHT + 28, across=166, letters=18, is_down=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the bar of a box."""

    state: str
    x: str
    width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnBox:
    """A box with its place; ``words`` say the same for those who do not see it."""

    id: str
    href: str
    x: int
    y: int
    label: str
    words: str
    note: str
    total: int
    state: str
    is_bad: bool
    is_current: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnEdge:
    """A line from box to box; dashed and red behind a failure."""

    path: str
    is_bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG."""

    name: str
    width: int
    height: int
    box_width: int
    boxes: tuple[DrawnBox, ...]
    edges: tuple[DrawnEdge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A graph from left to right, and from top to bottom for narrow screens, which are shown no part of a graph."""

    wide: Picture
    narrow: Picture | None
    boxes: int
    jobs: int
    is_folded: bool
    hidden_edges: int


def draw(
    jobs: Sequence[Vertex],
    *,
    depth: Mapping[str, int] | None = None,
    href: Callable[[Box], str] | None = None,
    current: str = "",
    wide: Graph | None = None,
    is_part: bool = False,
) -> Drawing:
    """Return the drawing of a graph of jobs.

    Args:
        jobs: any number; an edge goes from each job to the jobs that name it in ``above``.
        depth: as `layout.depths` returns it, if that is known.
        href: returns the address that a box opens; without it a box of one job opens the job.
        current: the key of the box that is marked as the present one, such as the id of a job.
        wide: the graph that wide screens get in place of that of all jobs.
        is_part: this graph has only a part of the jobs, with more boxes than a narrow screen has room for.
    """
    depth = depths(followers(jobs)) if depth is None else depth
    graph = fold(jobs, depth, MOST_BOXES) if wide is None else wide
    narrow = None if is_part else graph if len(graph.boxes) <= _NARROW_BOXES else fold(jobs, depth, _NARROW_BOXES)
    address = href or _job_address
    return Drawing(
        wide=_picture("wide", graph, _WIDE, address, current),
        narrow=None if narrow is None else _picture("narrow", narrow, _NARROW, address, current),
        boxes=len(graph.boxes),
        jobs=len(jobs),
        is_folded=any(box.job_id is None for box in graph.boxes),
        hidden_edges=graph.hidden,
    )


def box_words(box: Box) -> str:
    """Return a box in words, such as ``render: 2,031 success, 112 failed``."""
    if box.job_id is not None:
        name = f"{shorten(box.type, _LONGEST)} {shorten(box.note, _LONGEST)}".rstrip()
        return f"{name}: {next(iter(box.counts))}"
    counts = ", ".join(f"{box.counts[state]:,} {state}" for state in _STATES if box.counts.get(state))
    return f"{shorten(box.type, _LONGEST)}: {counts}"


def _job_address(box: Box) -> str:
    return link(f"/jobs/{box.job_id}") if box.job_id is not None else "#"


def _picture(name: str, graph: Graph, shape: _Shape, href: Callable[[Box], str], current: str) -> Picture:
    layout = place(graph)
    corners = {box.key: _corner(layout.spots[box.key], shape) for box in graph.boxes}
    bad = {box.key for box in graph.boxes if box.is_bad}
    return Picture(
        name=name,
        width=max((x for x, _ in corners.values()), default=0) + shape.width + _PAD,
        height=max((y for _, y in corners.values()), default=0) + HEIGHT + _PAD,
        box_width=shape.width,
        boxes=tuple(
            _drawn(box, f"{name}-{number}", corners[box.key], shape, href(box), is_current=box.key == current)
            for number, box in enumerate(graph.boxes)
        ),
        edges=tuple(_edges(layout, shape, bad)),
    )


def _drawn(box: Box, box_id: str, corner: tuple[int, int], shape: _Shape, href: str, *, is_current: bool) -> DrawnBox:
    state = next(iter(box.counts)) if box.job_id is not None or box.total == 1 else ""
    return DrawnBox(
        id=box_id,
        href=href,
        x=corner[0],
        y=corner[1],
        label=shorten(box.type, shape.letters),
        words=box_words(box),
        note=shorten(_note(box), shape.letters + 2),
        total=box.total,
        state=state if state in _STATES else "",
        is_bad=box.is_bad,
        is_current=is_current,
        parts=() if state else _parts(box.counts, shape.width - 20),
    )


def _note(box: Box) -> str:
    """Return the second line of a box: of many jobs what needs somebody, then what goes on."""
    if box.job_id is not None or box.total == 1:
        return f"{next(iter(box.counts))}{f', {box.note}' if box.note else ''}"
    for states in (("failed", "killed"), ("processing", "pending", "delayed"), ("success",)):
        named = [f"{box.counts[state]:,} {state}" for state in states if box.counts.get(state)]
        if named:
            return ", ".join(named)
    return ""


def _parts(counts: Mapping[str, int], width: float) -> tuple[Part, ...]:
    total = sum(counts.values()) or 1
    sizes = {state: max(width * counts[state] / total, _LEAST) for state in _STATES if counts.get(state)}
    scale = width / (sum(sizes.values()) or 1)
    parts, x = [], 10.0
    for state, size in sizes.items():
        parts.append(Part(state=state, x=f"{x:.1f}", width=f"{size * scale:.1f}"))
        x += size * scale
    return tuple(parts)


def _corner(spot: Spot, shape: _Shape) -> tuple[int, int]:
    along, across = spot.along * shape.along + _PAD, round(spot.across * shape.across) + _PAD
    return (across, along) if shape.is_down else (along, across)


def _edges(layout: Layout, shape: _Shape, bad: set[str]) -> list[DrawnEdge]:
    size = (shape.width, HEIGHT)
    drawn = []
    for (above, _), way in layout.ways.items():
        points: list[tuple[int, int]] = []
        for number, spot in enumerate(way):
            x, y = _corner(spot, shape)
            ends = (number > 0, number < len(way) - 1)
            # An edge that passes a layer is straight there, so that it crosses no box.
            if shape.is_down:
                points += [(x + size[0] // 2, y + size[1] * far) for far, there in enumerate(ends) if there]
            else:
                points += [(x + size[0] * far, y + size[1] // 2) for far, there in enumerate(ends) if there]
        drawn.append(DrawnEdge(path=_path(points, is_down=shape.is_down), is_bad=above in bad))
    return drawn


def _path(points: Sequence[tuple[int, int]], *, is_down: bool) -> str:
    text = f"M{points[0][0]} {points[0][1]}"
    for (x, y), (to_x, to_y) in itertools.pairwise(points):
        if is_down:
            middle = (y + to_y) // 2
            text += f"V{to_y}" if x == to_x else f"C{x} {middle} {to_x} {middle} {to_x} {to_y}"
        else:
            middle = (x + to_x) // 2
            text += f"H{to_x}" if y == to_y else f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"
    return text
