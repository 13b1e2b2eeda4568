"""Graphs of jobs: few boxes for many jobs, in places that states do not change."""

from __future__ import annotations

import itertools
import random

import pytest

from jobqueue.dashboard.workflow.drawing import Drawing, Picture, draw
from jobqueue.dashboard.workflow.layout import MOST_BOXES, MOST_EDGES, Vertex, depths, fold, followers, place

PIPELINE = (
    Vertex("a", "fetch", "success"),
    Vertex("b", "parse", "failed", ("a",)),
    Vertex("c", "stats", "success", ("a",)),
    Vertex("d", "report", "killed", ("b", "c", "somewhere else")),
    Vertex("e", "audit", "delayed", ("a", "d")),
)


def wide_batch(parts: int) -> list[Vertex]:
    jobs = [Vertex("split", "split", "success")]
    for part in range(parts):
        jobs.append(Vertex(f"r{part}", "render", "failed" if part == 7 else "success", ("split",)))
        jobs.append(Vertex(f"t{part}", "thumbnail", "killed" if part == 7 else "pending", (f"r{part}",)))
    return [*jobs, Vertex("report", "report", "delayed", tuple(f"t{part}" for part in range(parts)))]


def pictures(drawing: Drawing) -> list[Picture]:
    assert drawing.narrow is not None
    return [drawing.wide, drawing.narrow]


def test_few_jobs_have_a_box_each_in_the_layer_of_their_depth() -> None:
    graph = fold(PIPELINE, depths(followers(PIPELINE)))
    assert {box.key: box.layer for box in graph.boxes} == {"a": 0, "b": 1, "c": 1, "d": 2, "e": 3}
    assert set(graph.edges) == {("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "e"), ("d", "e")}
    layout = place(graph)
    assert [spot.along for spot in layout.ways["a", "e"]] == [0, 1, 2, 3]
    places = [(spot.along, spot.across) for way in layout.ways.values() for spot in way]
    assert {layout.spots["b"].across, layout.spots["c"].across} <= {across for along, across in places if along == 1}
    drawing = draw(PIPELINE, current="c")
    assert [box.words for box in drawing.wide.boxes if box.is_current] == ["stats: success"]
    assert sum(edge.is_bad for edge in drawing.wide.edges) == 2


def test_many_jobs_are_boxes_by_type_and_depth_with_counts_by_state() -> None:
    drawing = draw(wide_batch(3_000))
    assert (drawing.jobs, drawing.boxes, drawing.is_folded) == (6_002, 4, True)
    assert [(box.words, box.is_bad) for box in drawing.wide.boxes] == [
        ("split: 1 success", False),
        ("render: 2,999 success, 1 failed", True),
        ("thumbnail: 2,999 pending, 1 killed", True),
        ("report: 1 delayed", False),
    ]
    render = drawing.wide.boxes[1]
    assert float(render.parts[1].width) > 2.5
    assert sum(float(part.width) for part in render.parts) == pytest.approx(176, abs=0.5)


def test_states_move_no_box() -> None:
    def places(jobs: list[Vertex]) -> list[tuple[str, int, int]]:
        drawing = draw(jobs)
        return [(box.label, box.x, box.y) for picture in pictures(drawing) for box in picture.boxes]

    before = wide_batch(20)
    assert places([job._replace(state="success") for job in before]) == places(before)


@pytest.mark.parametrize(("size", "kinds"), [(1, 1), (60, 60), (61, 300), (700, 1), (700, 5), (700, 300)])
def test_any_graph_has_few_boxes_and_lines_and_no_box_over_another(size: int, kinds: int) -> None:
    rng = random.Random(size + kinds)  # noqa: S311 - no secret
    jobs = [
        Vertex(str(n), f"t{rng.randrange(kinds)}", "pending", tuple(str(rng.randrange(size)) for _ in range(n % 4)))
        for n in range(size)
    ]
    drawing = draw(jobs)
    for picture in pictures(drawing):
        assert len(picture.boxes) <= MOST_BOXES
        assert len(picture.edges) <= MOST_EDGES
        taken = sorted((box.x, box.y) for box in picture.boxes)
        for (x, y), (next_x, next_y) in itertools.pairwise(taken):
            assert next_x >= x + picture.box_width or abs(next_y - y) >= 52
    counted = fold(jobs, depths(followers(jobs)))
    assert sum(box.total for box in counted.boxes) == size


def test_a_long_chain_of_one_type_is_one_box() -> None:
    chain = [Vertex(str(n), "step", "success", (str(n - 1),)) for n in range(500)]
    assert [box.words for box in draw(chain).wide.boxes] == ["step: 500 success"]
