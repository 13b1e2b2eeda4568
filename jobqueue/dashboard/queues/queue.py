"""One queue: why nothing starts, who uses it and who waits, its configuration and its changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.charts import Steps
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.spans import WINDOWS, series, span
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.changes import change_line, compact
from jobqueue.dashboard.queues.rows import brief, failed, row
from jobqueue.dashboard.queues.standing import KEPT_SECONDS, pause_of
from jobqueue.dashboard.queues.subject import DEFAULTS, the_queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jobqueue.dashboard.frame.view import View

_GROUPS: Final = 12
_ALL_GROUPS: Final = 100
_CHANGES: Final = 8
_UNITS: Final = {"lease": "s", "timeout": "s"}
_ELSEWHERE: Final = ("paused", "pauseReason", "processors")
"""Fields that other parts of the page show."""


async def _load(view: View) -> dict[str, Any]:
    name = view.path("name")
    path = f"/v1/queues/{quoted(name)}"
    queue, _ = await the_queue(view)
    wanted = span(view)
    most = _ALL_GROUPS if view.query("groups") == "all" else _GROUPS
    replies: list[Any] = await asyncio.gather(
        view.ask_kept(KEPT_SECONDS, f"{path}/why"),
        view.ask_kept(KEPT_SECONDS, f"{path}/groups", {"limit": str(most)}),
        view.try_kept(KEPT_SECONDS, f"{path}/changes", {"limit": str(_CHANGES)}),
        view.ask_kept(KEPT_SECONDS, "/v1/stats", {"window": "5m,24h", "queue": name}),
        view.ask_kept(KEPT_SECONDS, "/v1/types", {"queue": name, "limit": "50"}),
        pause_of(view, name) if queue["paused"] else _none(),
        series(view, wanted, queue=name),
    )
    why, groups, changes, stats, types, pause, found = replies
    reasons = _merged(reason for reason in why["reasons"] if reason["kind"] != "empty")
    return {
        "name": name,
        "queue": queue,
        "row": row(queue, view.now, [reason["kind"] for reason in reasons]),
        "reasons": reasons,
        "idle": next((reason for reason in why["reasons"] if reason["kind"] == "empty"), None),
        "next_start": why["nextStartAt"],
        "pause": pause,
        "starts": brief(stats["windows"]["5m"]["perMinute"]["started"]),
        "day": stats["windows"]["24h"],
        "failed": failed(stats["windows"]["24h"]),
        "groups": groups,
        "values": [compact(item["value"]) for item in groups["items"]],
        "types": types["items"],
        "changes": [change_line(change) for change in changes["items"]] if changes else changes,
        "settings": list(_settings(queue)),
        "span": wanted,
        "windows": WINDOWS,
        "as_table": view.query("as") == "table",
        "chart": Steps(found, view.preferences) if isinstance(found, dict) else None,
        "problem": found if isinstance(found, str) else "",
    }


def _merged(reasons: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return reasons with one for all types that no worker takes."""
    merged: list[dict[str, Any]] = []
    workless: list[str] = []
    for reason in reasons:
        if reason["kind"] == "no-worker":
            workless += reason.get("types", ())
            if len(workless) > len(reason.get("types", ())):
                continue
            reason = reason | {"types": workless}  # noqa: PLW2901 - a copy of it
        merged.append(reason)
    return merged


async def _none() -> None:
    return None


def _settings(queue: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Yield the fields of the configuration with their values, and whether they have their defaults."""
    for name, default in DEFAULTS.items():
        if name not in _ELSEWHERE:
            value = queue[name]
            unit = f" {_UNITS[name]}" if name in _UNITS and value is not None else ""
            yield name, f"{compact(value)}{unit}", value == default


QUEUE = Page(path="/queues/{name}", template="queues/queue.html", load=_load, nav="Queues", events="queue={name}")
