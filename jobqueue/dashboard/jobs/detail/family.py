"""The relatives of a job with their present states: a picture, and a list that is indented like a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.workflow.drawing import draw
from jobqueue.dashboard.workflow.layout import Vertex, depths, fold, followers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jobqueue.dashboard.workflow.drawing import Drawing
    from jobqueue.dashboard.workflow.layout import Box

_MOST: Final = 16
_MOST_ANCESTORS: Final = 6
_MOST_BOXES: Final = 12
_DEEPEST: Final = 6


@dataclass(frozen=True, slots=True)
class Relative:
    """A relative; ``depth`` counts the relatives above it."""

    job: Mapping[str, Any]
    depth: int
    is_self: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The relatives that a page shows.

    Attributes:
        left_out: the number of others; with ``is_more`` there are even more of them.
    """

    relatives: Sequence[Relative]
    left_out: int
    is_more: bool
    batch: Mapping[str, Any] | None
    drawing: Drawing | None


def family(reply: Mapping[str, Any], needs: Sequence[Mapping[str, Any]]) -> Family:
    """Return the relatives of a reply of the API.

    Args:
        reply: with the ancestors and the descendants.
        needs: jobs that the job depends on.
    """
    ancestors = [Relative(job, 0, is_self=False) for job in reply["ancestors"]]
    shown = [Relative(one.job, index, is_self=False) for index, one in enumerate(ancestors[-_MOST_ANCESTORS:])]
    tree = list(_flat(reply["job"], len(shown)))
    return Family(
        relatives=[*shown, *tree[:_MOST]],
        left_out=max(0, len(ancestors) - _MOST_ANCESTORS) + max(0, len(tree) - _MOST),
        is_more=bool(reply["truncated"]),
        batch=reply["batch"],
        drawing=_drawing(
            [*(relative.job for relative in ancestors), *(relative.job for relative in tree)], reply, needs
        ),
    )


def _drawing(
    jobs: Sequence[Mapping[str, Any]], reply: Mapping[str, Any], needs: Sequence[Mapping[str, Any]]
) -> Drawing | None:
    """Return a picture of few boxes, whatever the number of relatives; ``None`` for a job without any."""
    job_id = str(reply["job"]["id"])
    above = {str(need["id"]) for need in needs}
    known = {str(job["id"]) for job in jobs}
    vertices = [
        Vertex(str(need["id"]), str(need["type"]), str(need["state"]), (), str(need.get("ref") or ""))
        for need in needs
        if need["id"] not in known
    ]
    for job in jobs:
        parents = [str(job["parentId"])] if job.get("parentId") else []
        of_self = [*parents, *above] if job["id"] == job_id else parents
        note = "this job" if job["id"] == job_id else ""
        vertices.append(Vertex(str(job["id"]), str(job["type"]), str(job["state"]), of_self, note))
    if len(vertices) == 1:
        return None

    def address(box: Box) -> str:
        return f"/jobs/{box.job_id}" if box.job_id is not None else link("/jobs", q=f"parentId={job_id}")

    depth = depths(followers(vertices))
    return draw(vertices, depth=depth, href=address, current=job_id, wide=fold(vertices, depth, _MOST_BOXES))


def _flat(job: Mapping[str, Any], depth: int, *, is_self: bool = True) -> Iterator[Relative]:
    yield Relative(job, min(depth, _DEEPEST), is_self)
    for child in job.get("children", ()):
        yield from _flat(child, depth + 1, is_self=False)
