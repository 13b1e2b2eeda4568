"""The overview: what needs somebody, and then the figures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk.groups import shown_groups
from jobqueue.dashboard.frame.charts import Steps
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.spans import WINDOWS, series, span
from jobqueue.dashboard.insight.needs import needs
from jobqueue.dashboard.queues.rows import day, failed, rows
from jobqueue.dashboard.queues.standing import KEPT_SECONDS

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_QUEUES: Final = 10
"""Queues in the table; the page of queues has the others."""
_FAILED: Final = ("fail", "die", "hanging", "timeout", "crash")
"""Ends of attempts that are no success, and were meant to be one."""


async def _load(view: View) -> dict[str, Any]:
    wanted = span(view)
    concerns, stats, queues, hours, groups, found = await asyncio.gather(
        needs(view),
        view.try_kept(KEPT_SECONDS, "/v1/stats", {"window": "5m,24h"}),
        view.try_kept(KEPT_SECONDS, "/v1/queues", {"limit": str(_QUEUES)}),
        day(view),
        shown_groups(view, {"sort": "-lastAt", "limit": "5"}),
        series(view, wanted),
    )
    return {
        **concerns,
        "span": wanted,
        "windows": WINDOWS,
        "as_table": view.query("as") == "table",
        "chart": Steps(found, view.preferences) if isinstance(found, dict) else None,
        "problem": found if isinstance(found, str) else "",
        "refused": None if stats else stats,
        "tiles": _tiles(stats, hours) if stats and hours else None,
        "rows": rows(queues["items"], stats, hours, view.now, concerns["reasons"]) if stats and queues else [],
        "more_queues": bool(queues and queues["next"]),
        "groups": groups,
        "is_empty": bool(stats) and not any(stats["counts"]["total"].values()),
    }


def _tiles(stats: dict[str, Any], hours: dict[str, Any]) -> list[dict[str, Any]]:
    total, points = stats["counts"]["total"], hours["points"]
    last_day = stats["windows"]["24h"]
    again = [sum(point["attempts"][outcome] for outcome in _FAILED) for point in points]
    tiles = [
        (
            "pending",
            "Pending",
            total["pending"],
            [point["added"] for point in points],
            f"{last_day['added']:,} added in 24 h",
        ),
        (
            "processing",
            "Processing",
            total["processing"],
            [point["started"] for point in points],
            f"{last_day['started']:,} started in 24 h",
        ),
        ("delayed", "Delayed", total["delayed"], again, f"{sum(again):,} tries failed in 24 h"),
    ]
    made = [
        {"state": state, "name": name, "number": number, "values": values, "text": text, "query": f"state={state}"}
        for state, name, number, values, text in tiles
    ]
    bad = failed(last_day)
    ended = bad + last_day["succeeded"]
    made.append(
        {
            "state": "failed",
            "name": "Failed, 24 h",
            "number": bad,
            "values": [point["failed"] + point["killed"] for point in points],
            "text": f"{100 * bad / ended:.1f} % of the ended" if ended else "nothing has ended",
            "query": "state=failed,killed endAt>=24h",
        }
    )
    return made


OVERVIEW = Page(path="/", template="insight/overview.html", load=_load, nav="Overview", events="")
