"""All queues."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.queues.rows import day, rows
from jobqueue.dashboard.queues.standing import KEPT_SECONDS, stuck_reasons

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_MOST: Final = 30


async def _load(view: View) -> dict[str, Any]:
    query = {"limit": str(_MOST)}
    if cursor := view.query("cursor"):
        query["cursor"] = cursor
    queues, stats, hours, reasons = await asyncio.gather(
        view.try_kept(KEPT_SECONDS, "/v1/queues", query),
        view.try_kept(KEPT_SECONDS, "/v1/stats", {"window": "5m,24h"}),
        day(view),
        stuck_reasons(view),
    )
    return {
        "refused": None if queues else queues,
        "rows": rows(queues["items"], stats, hours, view.now, reasons) if queues and stats else [],
        "following": queues["next"] if queues else None,
        "cursor": cursor,
    }


QUEUES = Page(path="/queues", template="queues/queues.html", load=_load, nav="Queues", events="")
