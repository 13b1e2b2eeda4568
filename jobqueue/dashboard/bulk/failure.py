"""One group of failures: the mistake, the jobs, and what they have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk.common import side_by_side, trait_rows
from jobqueue.dashboard.bulk.groups import shown
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_SIDES: Final = 3
_ROWS: Final = 14
_LONGEST_TRACE: Final = 6000
_KEPT_SECONDS: Final = 10.0
_COMPARED_SECONDS: Final = 30.0
_OLDEST_SECONDS: Final = 120.0
"""Age of a comparison that is still shown while the next one is made."""
_PATIENCE: Final = 0.05
"""Seconds that a page waits for a comparison, which takes some tenths of a second in large groups."""
_WITH: Final = "compare"
"""The parameter of an address that waits for the comparison."""


async def _load(view: View) -> dict[str, Any]:
    fingerprint = view.path("fp")
    group = shown(await view.ask(f"/v1/failures/{quoted(fingerprint)}"), view.now)
    jobs, compared = await asyncio.gather(
        # The states let the search use the index of failures.
        _newest(view, {"fingerprint": fingerprint, "state": {"$in": ["failed", "killed"]}}),
        _compared(view, f"/v1/failures/{quoted(fingerprint)}/compare"),
    )
    made = Counter(job["attemptsMade"] for job in group["jobs"]).most_common(1)
    trace = group["trace"] or ""
    return {
        "group": group,
        "attempt": made[0][0] if made else None,
        "compared": compared,
        "with_comparison": link(f"/failures/{quoted(fingerprint)}", **{_WITH: "yes"}),
        "traits": trait_rows(compared["traits"]) if compared else [],
        "sides": jobs,
        "rows": side_by_side(jobs, _ROWS),
        "trace": trace if len(trace) <= _LONGEST_TRACE else f"…{trace[-_LONGEST_TRACE:]}",
        "is_cut": len(trace) > _LONGEST_TRACE,
    }


async def _compared(view: View, path: str) -> dict[str, Any] | None:
    """Return the comparison, or ``None`` while it is made: then the page fetches it, or its visitor follows a link."""
    if view.query(_WITH):
        return await view.ask_kept(_COMPARED_SECONDS, path)
    return await view.soon_kept(_COMPARED_SECONDS, path, _PATIENCE, _OLDEST_SECONDS)


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
