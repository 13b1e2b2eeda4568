"""One group of failures: the mistake, the jobs, and what they have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk.common import side_by_side, trait_rows
from jobqueue.dashboard.bulk.groups import shown
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_SIDES: Final = 3
_ROWS: Final = 14
_LONGEST_TRACE: Final = 6000
_KEPT_SECONDS: Final = 10.0
_COMPARED_SECONDS: Final = 30.0


async def _load(view: View) -> dict[str, Any]:
    fingerprint = view.path("fp")
    group = shown(await view.ask(f"/v1/failures/{quoted(fingerprint)}"), view.now)
    path = f"/v1/failures/{quoted(fingerprint)}/compare"
    jobs, compared = await asyncio.gather(
        # The states let the search use the index of failures.
        _newest(view, {"fingerprint": fingerprint, "state": {"$in": ["failed", "killed"]}}),
        view.ask_kept(_COMPARED_SECONDS, path),
    )
    made = Counter(job["attemptsMade"] for job in group["jobs"]).most_common(1)
    trace = group["trace"] or ""
    return {
        "group": group,
        "attempt": made[0][0] if made else None,
        "compared": compared,
        "traits": trait_rows(compared["traits"]),
        "sides": jobs,
        "rows": side_by_side(jobs, _ROWS),
        "trace": trace if len(trace) <= _LONGEST_TRACE else f"…{trace[-_LONGEST_TRACE:]}",
        "is_cut": len(trace) > _LONGEST_TRACE,
    }


async def _newest(view: View, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the newest jobs of a filter with their data, or none where the search would cost too much."""
    fields = ["id", "data", "meta", "error.message", "endAt"]
    body = {"filter": wanted, "fields": fields, "limit": _SIDES}
    try:
        page = await view.search_kept(_KEPT_SECONDS, body)
    except InvalidInputError:
        return []
    items: list[dict[str, Any]] = page["items"]
    return items


FAILURE = Page(
    path="/failures/{fp}", template="bulk/failure.html", load=_load, nav="Failures", events="state=failed,killed"
)
