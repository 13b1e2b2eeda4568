"""Pages with all starts, and all steps, of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.detail.brief import whole
from jobqueue.dashboard.jobs.detail.room import Room
from jobqueue.dashboard.jobs.detail.starts import runs_of, starts
from jobqueue.dashboard.jobs.detail.timeline import step_look, step_note

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_ROWS: Final = 60
_ROOM: Final = 14_000
_LONGEST: Final = 300
_EVENTS: Final = "job={id}"


async def _starts(view: View) -> dict[str, Any]:
    job = await view.ask(f"/v1/jobs/{quoted(view.path('id'))}")
    found = starts(job)
    begin = _begin(view, len(found))
    room = Room(_ROOM)
    newest = found[::-1][begin : begin + _ROWS]
    return {
        "job": job,
        "starts": [(start, room.text(start.worker, 60), room.text(start.why, _LONGEST)) for start in newest],
        "runs": runs_of(found),
        "count": len(found),
        **_pager(view, "starts", begin, len(found)),
    }


async def _steps(view: View) -> dict[str, Any]:
    job = await view.ask(f"/v1/jobs/{quoted(view.path('id'))}")
    steps = job.get("steps") or []
    begin = _begin(view, len(steps))
    room = Room(_ROOM)
    return {
        "job": job,
        "steps": [
            {
                "name": room.text(str(step["name"]), _LONGEST),
                "pointer": str(step["name"]),
                "kind": step["kind"],
                "look": step_look(step),
                "start_at": step["startAt"],
                "note": step_note(step, view.now) if step["endAt"] else "",
                "message": room.text(str((step.get("error") or {}).get("message") or ""), _LONGEST),
                "has_result": "result" in step or step.get("stored"),
                "is_done": bool(step["endAt"]),
            }
            for step in steps[begin : begin + _ROWS]
        ],
        "count": len(steps),
        **_pager(view, "steps", begin, len(steps)),
    }


def _begin(view: View, count: int) -> int:
    """Return the number of the first row, counted from 0."""
    begin = whole(view.query("from"))
    return begin if begin < count else 0


def _pager(view: View, name: str, begin: int, count: int) -> dict[str, str | None]:
    path = f"/jobs/{quoted(view.path('id'))}/{name}"
    return {
        "previous": link(path, **{"from": max(0, begin - _ROWS) or None}) if begin else None,
        "following": link(path, **{"from": begin + _ROWS}) if begin + _ROWS < count else None,
    }


STARTS: Final = Page(path="/jobs/{id}/starts", template="jobs/starts.html", load=_starts, nav="Jobs", events=_EVENTS)
STEPS: Final = Page(path="/jobs/{id}/steps", template="jobs/steps.html", load=_steps, nav="Jobs", events=_EVENTS)
