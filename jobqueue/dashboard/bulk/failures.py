"""Failures in groups of the same mistake."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk.groups import shown_groups
from jobqueue.dashboard.frame.page import Page

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = "40"
_MOST_QUEUES: Final = "8"
_WINDOWS: Final = {
    "": ("Any time", None),
    "7d": ("7 d", timedelta(days=7)),
    "24h": ("24 h", timedelta(hours=24)),
    "1h": ("1 h", timedelta(hours=1)),
}
_SORTS: Final = ("-count", "-lastAt")
_KEPT_SECONDS: Final = 5.0


async def _load(view: View) -> dict[str, Any]:
    window = view.query("window") if view.query("window") in _WINDOWS else ""
    sort = view.query("sort") if view.query("sort") in _SORTS else _SORTS[0]
    asked = {name: view.query(name) for name in ("queue", "type", "cursor") if view.query(name)}
    query = {"limit": _LIMIT, "sort": sort, **asked}
    length = _WINDOWS[window][1]
    if length is not None:
        # A whole minute, so that visits share the work, and pages have one beginning.
        since = (view.now - length).replace(second=0, microsecond=0)
        query["endedAfter"] = since.isoformat().replace("+00:00", "Z")
    groups, queues = await asyncio.gather(
        shown_groups(view, query), view.try_kept(_KEPT_SECONDS, "/v1/queues", {"limit": _MOST_QUEUES})
    )
    names = [queue["name"] for queue in queues["items"]] if queues else []
    if (own := view.query("queue")) and own not in names:
        names.append(own)
    return {
        "groups": groups,
        "jobs": sum(group["count"] for group in groups["items"]),
        "new": sum(group["is_new"] for group in groups["items"]),
        "queues": names,
        "has_more_queues": bool(queues and queues["next"]),
        "windows": {name: text for name, (text, _) in _WINDOWS.items()},
        "chosen": {"queue": view.query("queue") or None, "type": view.query("type") or None, "window": window or None}
        | {"sort": sort if sort != _SORTS[0] else None},
        "cursor": view.query("cursor"),
    }


FAILURES = Page(
    path="/failures", template="bulk/failures.html", load=_load, nav="Failures", events="state=failed,killed"
)
