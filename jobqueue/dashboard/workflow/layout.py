"""Layout of graphs of jobs: boxes in layers, few of them whatever the number of jobs.

A graph of few jobs has a box for each. A larger one has a box for each type and depth, so that 10,000 jobs are five
boxes; where that are still too many, a box for each type. The same boxes have the same places as long as the set of
boxes is the same: the states of the jobs never move anything.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_BOXES: Final = 60
"""Jobs that have a box each."""
MOST_KINDS: Final = 20
"""Boxes of a folded graph. Each has a bar: more would make a page too large."""
MOST_EDGES: Final = 120
"""Edges that are drawn."""
_MOST_TURNS: Final = 400
"""Places at which long edges pass through a layer."""
_SWEEPS: Final = 6
OTHER: Final = "other types"
FAILURES: Final = ("failed", "killed")


class Vertex(NamedTuple):
    """A job of a graph.

    Attributes:
        above: ids of the jobs that it depends on; ids of jobs outside of the graph count for nothing.
        note: a word besides the type, such as the name within the batch.
    """

    id: str
    type: str
    state: str
    above: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box of a graph: a job, or jobs of one type.

    Attributes:
        key: the id of the job, or the type and the depth.
        job_id: of a box of one job.
        layer: the column of the box.
        depth: the number of jobs before it on the longest way.
    """

    key: str
    type: str
    counts: Mapping[str, int]
    layer: int
    depth: int
    job_id: str | None = None
    note: str = ""

    @property
    def total(self) -> int:
        """The number of jobs."""
        return sum(self.counts.values())

    @property
    def is_bad(self) -> bool:
        """True if a job has failed or was killed."""
        return any(self.counts.get(state) for state in FAILURES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Boxes and the edges between them.

    Attributes:
        edges: pairs of keys, each from a layer to a later one.
        hidden: edges that are left out, as the picture would be black with them.
    """

    boxes: tuple[Box, ...]
    edges: tuple[tuple[str, str], ...]
    hidden: int = 0


@dataclass(slots=True)
class Spot:
    """A place in a layer, of a box or of a long edge that passes.

    Attributes:
        along: the number of the layer.
        across: the place within the layer, in units of boxes.
    """

    along: int
    across: float = 0.0
    before: list[Spot] = field(default_factory=list, repr=False)
    after: list[Spot] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Places of boxes by key, and the places through which each edge goes, its ends included."""

    spots: Mapping[str, Spot]
    ways: Mapping[tuple[str, str], tuple[Spot, ...]]


def followers(jobs: Sequence[Vertex]) -> dict[str, list[str]]:
    """Return for each job of a graph the jobs that depend on it."""
    below: dict[str, list[str]] = {job.id: [] for job in jobs}
    for job in jobs:
        for other in job.above:
            if other in below:
                below[other].append(job.id)
    return below


def depths(below: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return for each job the length of the longest way to it; jobs in a cycle, which another tool made, have 0.

    Args:
        below: as `followers` returns it.
    """
    waits = dict.fromkeys(below, 0)
    for others in below.values():
        for other in others:
            waits[other] += 1
    row = [job_id for job_id, count in waits.items() if not count]
    depth = dict.fromkeys(below, 0)
    number = 0
    while row:
        number += 1
        following = []
        for job_id in row:
            for other in below[job_id]:
                waits[other] -= 1
                if not waits[other]:
                    # All jobs before it are in earlier rows, and the last of them is in this one.
                    depth[other] = number
                    following.append(other)
        row = following
    return depth


def fold(jobs: Sequence[Vertex], depth: Mapping[str, int], most: int = MOST_BOXES) -> Graph:
    """Return a graph of few boxes of all jobs.

    Args:
        jobs: in a lasting order.
        depth: as `depths` returns it.
        most: boxes of one job each; a folded graph has at most `MOST_KINDS`, and as many.
    """
    if len(jobs) <= most:
        return group(jobs, depth, {job.id: job.id for job in jobs})
    return group(jobs, depth, kinds(jobs, depth, min(most, MOST_KINDS)))


def kinds(jobs: Sequence[Vertex], depth: Mapping[str, int], most: int = MOST_KINDS) -> dict[str, str]:
    """Return for each job the key of its kind: type and depth, or the type alone where that are too many kinds."""
    key_of = {job.id: f"{job.type}@{depth[job.id]}" for job in jobs}
    if len(set(key_of.values())) <= most:
        return key_of
    sizes = Counter(job.type for job in jobs)
    if len(sizes) <= most:
        return {job.id: job.type for job in jobs}
    kept = {job_type for job_type, _ in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[: most - 1]}
    return {job.id: job.type if job.type in kept else OTHER for job in jobs}


def group(jobs: Sequence[Vertex], depth: Mapping[str, int], key_of: Mapping[str, str]) -> Graph:
    """Return the graph of jobs with a box for each key; a job whose key is its id is a box of its own."""
    counts: dict[str, dict[str, int]] = {}
    first: dict[str, Vertex] = {}
    for job in jobs:
        key = key_of[job.id]
        of_box = counts.setdefault(key, {})
        of_box[job.state] = of_box.get(job.state, 0) + 1
        if key not in first or depth[job.id] < depth[first[key].id]:
            first[key] = job
    layers = {layer: number for number, layer in enumerate(sorted({depth[job.id] for job in first.values()}))}
    boxes = []
    for key, of_box in counts.items():
        job = first[key]
        is_one = key == job.id
        boxes.append(
            Box(
                key=key,
                type=OTHER if key == OTHER else job.type,
                counts=of_box,
                layer=layers[depth[job.id]],
                depth=depth[job.id],
                job_id=job.id if is_one else None,
                note=job.note if is_one else "",
            )
        )
    return _joined(boxes, key_of, jobs)


def _joined(boxes: Sequence[Box], key_of: Mapping[str, str], jobs: Sequence[Vertex]) -> Graph:
    layer = {box.key: box.layer for box in boxes}
    found: dict[tuple[str, str], None] = {}
    for job in jobs:
        key = key_of[job.id]
        for other in job.above:
            above = key_of.get(other)
            if above is not None and layer[above] < layer[key]:
                found[above, key] = None
    edges = tuple(found) if len(found) <= MOST_EDGES else _reduced(tuple(found), layer)
    return Graph(boxes=tuple(boxes), edges=edges[:MOST_EDGES], hidden=max(0, len(edges) - MOST_EDGES))


def _reduced(edges: tuple[tuple[str, str], ...], layer: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    """Return the edges without those that a longer way says already."""
    below: dict[str, set[str]] = {}
    for above, key in edges:
        below.setdefault(above, set()).add(key)
    reached: dict[str, set[str]] = {}
    for key in sorted(layer, key=lambda name: -layer[name]):
        reached[key] = set().union(*({other} | reached[other] for other in below.get(key, ())))
    return tuple(
        (above, key) for above, key in edges if not any(key in reached[other] for other in below[above] if other != key)
    )


def place(graph: Graph) -> Layout:
    """Return places of the boxes of a graph with few crossings and straight long edges."""
    spots = {box.key: Spot(box.layer) for box in graph.boxes}
    layers: dict[int, list[Spot]] = {}
    for box in graph.boxes:
        layers.setdefault(box.layer, []).append(spots[box.key])
    ways: dict[tuple[str, str], tuple[Spot, ...]] = {}
    turns = 0
    for edge in graph.edges:
        begin, end = spots[edge[0]], spots[edge[1]]
        passed = [Spot(along) for along in range(begin.along + 1, end.along)]
        turns += len(passed)
        if turns > _MOST_TURNS:
            passed = []
        for spot in passed:
            layers.setdefault(spot.along, []).append(spot)
        way = (begin, *passed, end)
        for one, other in itertools.pairwise(way):
            one.after.append(other)
            other.before.append(one)
        ways[edge] = way
    rows = [layers[along] for along in sorted(layers)]
    _order(rows)
    _straighten(rows)
    return Layout(spots=spots, ways=ways)


def _order(rows: Sequence[list[Spot]]) -> None:
    """Order each layer by the middle of the neighbours, forwards and backwards in turns."""
    for row in rows:
        _number(row)
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            # Sorting is stable: spots without neighbours on this side keep their places.
            row.sort(key=_middle_after if sweep % 2 else _middle_before)
            _number(row)


def _straighten(rows: Sequence[list[Spot]]) -> None:
    """Pull boxes towards their neighbours; the order and a distance of one stay."""
    for sweep in range(_SWEEPS + 2):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [_middle_after(spot) if sweep % 2 else _middle_before(spot) for spot in row]
            low = float("-inf")
            for spot, want in zip(row, wanted, strict=True):
                spot.across = low = max(want, low + 1)
            shift = sum(want - spot.across for spot, want in zip(row, wanted, strict=True)) / len(row)
            for spot in row:
                spot.across += shift
    least = min((spot.across for row in rows for spot in row), default=0.0)
    for row in rows:
        for spot in row:
            spot.across -= least


def _middle_before(spot: Spot) -> float:
    return _middle(spot, spot.before)


def _middle_after(spot: Spot) -> float:
    return _middle(spot, spot.after)


def _middle(spot: Spot, near: Sequence[Spot]) -> float:
    return sum(other.across for other in near) / len(near) if near else spot.across


def _number(row: Sequence[Spot]) -> None:
    for number, spot in enumerate(row):
        spot.across = float(number)
