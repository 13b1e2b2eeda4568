"""One group of failures: the mistake, the jobs, and what they have in common."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk.common import side_by_side, traits
from jobqueue.dashboard.bulk.groups import shown
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_SAMPLE: Final = 60
_SIDES: Final = 3
_ROWS: Final = 14
_LONGEST_TRACE: Final = 6000
_KEPT_SECONDS: Final = 10.0


async def _load(view: View) -> dict[str, Any]:
    fingerprint = view.path("fp")
    group = shown(await view.ask(f"/v1/failures/{quoted(fingerprint)}"), view.now)
    jobs, others = await asyncio.gather(
        # The states let the search use the index of failures.
        _sample(view, {"fingerprint": fingerprint, "state": {"$in": ["failed", "killed"]}}),
        _sample(view, {"type": group["type"], "state": "success"}),
    )
    made = Counter(job["attemptsMade"] for job in group["jobs"]).most_common(1)
    common = traits(jobs, others) if len(jobs) > 1 else []
    trace = group["trace"] or ""
    return {
        "group": group,
        "attempt": made[0][0] if made else None,
        "sample": len(jobs),
        "others": len(others),
        "traits": common,
        "telling": next((trait for trait in common if trait.tells), None),
        "sides": jobs[:_SIDES],
        "rows": side_by_side(jobs[:_SIDES], _ROWS),
        "trace": trace if len(trace) <= _LONGEST_TRACE else f"…{trace[-_LONGEST_TRACE:]}",
        "is_cut": len(trace) > _LONGEST_TRACE,
    }


async def _sample(view: View, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the newest jobs of a filter with their data, or none where the search would cost too much."""
    fields = ["id", "data", "meta", "error.message", "endAt"]
    body = {"filter": wanted, "fields": fields, "limit": _SAMPLE}
    try:
        page = await view.search_kept(_KEPT_SECONDS, body)
    except InvalidInputError:
        return []
    items: list[dict[str, Any]] = page["items"]
    return items


FAILURE = Page(
    path="/failures/{fp}", template="bulk/failure.html", load=_load, nav="Failures", events="state=failed,killed"
)
