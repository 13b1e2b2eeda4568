"""Schedules: when each makes its next jobs, and what became of the last ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.schedules.words import schedule_text

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = "10"


async def _load(view: View) -> dict[str, Any]:
    name, cursor = view.query("name"), view.query("cursor")
    if name:
        found = await view.find(f"/v1/schedules/{quoted(name)}")
        schedules: Any = {"items": [found] if found else [], "next": None}
    else:
        schedules = await view.try_ask("/v1/schedules", {"limit": _LIMIT} | ({"cursor": cursor} if cursor else {}))
    items = schedules["items"] if schedules else []
    return {
        "schedules": schedules,
        "rows": [schedule_text(schedule, view.now, view.preferences) for schedule in items],
        "name": name,
        "first": link("/schedules") if cursor else None,
        "following": link("/schedules", cursor=schedules["next"]) if schedules and schedules["next"] else None,
    }


SCHEDULES = Page(path="/schedules", template="schedules/schedules.html", load=_load, nav="Schedules")
