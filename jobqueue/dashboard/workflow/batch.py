"""One batch: its progress, its graph, what failed and what that holds up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.workflow.batch_texts import batch_text, callback_texts
from jobqueue.dashboard.workflow.drawing import draw
from jobqueue.dashboard.workflow.layout import MOST_BOXES
from jobqueue.dashboard.workflow.members import PAGE, Members, kind_name
from jobqueue.domain.jobs.short_ids import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.dashboard.frame.view import View
    from jobqueue.dashboard.workflow.drawing import Drawing
    from jobqueue.dashboard.workflow.layout import Box, Vertex

_FAILED_FIRST: Final = 10
_STUCK: Final = "stuck"
_ZOOMS: Final = (50, 75, 100, 150, 200)
_SHOWN: Final = ["id", "type", "state", "queue", "ref", "error.message", "endAt", "startAt", "progress"]
_NO_VALUES: Final = {"ref": None, "error": None, "endAt": None, "startAt": None}
"""Fields that a search leaves out where a job has none."""
_CALLBACKS: Final = ["id", "type", "state", "callbackOf", "insertAt"]


async def _load(view: View) -> dict[str, Any]:
    path = f"/v1/batches/{quoted(view.path('id'))}"
    batch = await view.ask(path)
    few = batch["total"] <= MOST_BOXES
    fields = "type,state,dependsOn,ref" if few else "type,state,dependsOn"
    graph, callbacks = await _graph_and_callbacks(view, path, fields, batch)
    members = Members(graph["jobs"])
    box, start, shown = view.query("box"), _number(view.query("from")), view.query("show")
    of_box = members.of_kind(box) if box else []
    listed = of_box[start : start + PAGE] if of_box else members.failures()[:_FAILED_FIRST]
    address = _Address(view.path("id"), shown, _zoom(view))
    rows = await _rows(view, members, listed)
    return {
        "it": batch_text(batch, view.now),
        "truncated": graph["truncated"],
        "callbacks": callback_texts(batch, callbacks),
        "kinds": members.kinds(),
        "unlisted": members.unlisted,
        "drawing": _drawing(members, rows if of_box else [], box, shown, address.box),
        "to": address,
        "kind_name": kind_name,
        "zooms": _ZOOMS,
        "stuck": len(members.stuck),
        "box": box if of_box else "",
        "box_type": of_box[0].type if of_box else "",
        "box_size": len(of_box),
        "start": start,
        "page": PAGE,
        "listed": rows,
        "failed": batch["counts"]["failed"] + batch["counts"]["killed"],
    }


class _Address:
    """Addresses of the page that differ in one part."""

    def __init__(self, batch_id: str, shown: str, zoom: int) -> None:
        self._path, self.shown, self.zoom = f"/batches/{quoted(batch_id)}", shown, zoom

    def of(self, *, show: str = "", box: str = "", start: int = 0, zoom: int = 0) -> str:
        """Return an address."""
        zoom = zoom or self.zoom
        return link(
            self._path,
            show=show or None,
            box=box or None,
            from_=start or None,
            zoom=None if zoom == 100 else zoom,  # noqa: PLR2004
        )

    def box(self, box: Box) -> str:
        """Return the address that a box opens: its job, or its members."""
        if box.job_id is not None:
            return f"/jobs/{box.job_id}"
        return f"{self.of(show=self.shown, box=kind_name(box.key))}#members"


async def _graph_and_callbacks(
    view: View, path: str, fields: str, batch: Mapping[str, Any]
) -> tuple[dict[str, Any], Sequence[Mapping[str, Any]]]:
    graph = await view.ask(f"{path}/graph", {"fields": fields})
    if not any(batch[name] for name in ("onComplete", "onSuccess", "onFailure")):
        return graph, []
    search = {"filter": {"callbackOf.batchId": batch["id"]}, "fields": _CALLBACKS, "limit": PAGE}
    return graph, (await view.ask("/v1/jobs/search", body=search))["items"]


def _drawing(
    members: Members, opened: Sequence[Mapping[str, Any]], box: str, shown: str, href: Callable[[Box], str]
) -> Drawing:
    jobs = members.failed_or_stuck() if shown == _STUCK else members.jobs
    wide = members.by_kind if len(jobs) == len(members.jobs) > MOST_BOXES else None
    is_part = bool(opened) and len(members.jobs) > MOST_BOXES
    if is_part:
        notes = {row["id"]: row.get("ref") or tail(row["id"]) for row in opened}
        wide = members.opened(notes)
    current = next((each.key for each in members.by_kind.boxes if kind_name(each.key) == box), box)
    return draw(jobs, depth=members.depth, href=href, current=current, wide=wide, is_part=is_part)


async def _rows(view: View, members: Members, listed: Sequence[Vertex]) -> list[dict[str, Any]]:
    """Return jobs with what the graph has not: their errors and times."""
    if not listed:
        return []
    search = {"filter": {"id": {"$in": [job.id for job in listed]}}, "fields": _SHOWN, "limit": PAGE}
    found = {job["id"]: job for job in (await view.ask("/v1/jobs/search", body=search))["items"]}
    return [_NO_VALUES | found[job.id] | {"holdsUp": members.holds_up(job)} for job in listed if job.id in found]


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0  # noqa: PLR2004


def _zoom(view: View) -> int:
    zoom = _number(view.query("zoom", "100"))
    return zoom if zoom in _ZOOMS else 100


BATCH = Page(path="/batches/{id}", template="workflow/batch.html", load=_load, nav="Batches", events="batch={id}")
