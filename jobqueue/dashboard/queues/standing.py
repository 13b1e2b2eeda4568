"""The standing of queues: what holds them up, since when, and by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.view import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from jobqueue.dashboard.frame.view import View

KEPT_SECONDS: Final = 0.9
"""Less than the second after which a page that follows changes is fetched again at the earliest."""
_AGE_SECONDS: Final = 10
_CHANGES: Final = "20"


async def concerns(view: View) -> list[dict[str, Any]]:
    """Return what needs somebody, each with its details beside its kind, message and command."""
    items = (await view.ask_kept(KEPT_SECONDS, "/v1/status"))["items"]
    return [item["details"] | {name: item[name] for name in ("kind", "message", "command")} for item in items]


async def stuck_reasons(view: View) -> dict[str, Sequence[str]]:
    """Return the kinds of reasons of queues that are stuck, by name."""
    return reasons_by_queue(await concerns(view))


def reasons_by_queue(found: Iterable[Mapping[str, Any]]) -> dict[str, Sequence[str]]:
    """Return the kinds of reasons in some concerns, by queue."""
    return {concern["queue"]: concern["reasons"] for concern in found if concern["kind"] == "queue"}


async def pause_of(view: View, queue: str) -> dict[str, Any] | None:
    """Return the change of the audit that has paused a queue, if this visitor may see it."""
    if not view.may("admin"):
        return None
    changes = await view.try_kept(KEPT_SECONDS, f"/v1/queues/{quoted(queue)}/changes", {"limit": _CHANGES})
    items: list[dict[str, Any]] = changes["items"] if changes else []
    return next((change for change in items if _has_paused(change)), None)


def standing(queue: Mapping[str, Any], reasons: Sequence[str] = ()) -> tuple[str, str]:
    """Return the state and the words that stand for a queue; empty ones for a queue that works."""
    if queue["paused"]:
        return "delayed", "paused"
    for breaker in queue["breakers"]:
        if breaker["state"] == "open":
            return "failed", "breaker open"
        if breaker["state"] == "half-open":
            return "delayed", "breaker: one on trial"
    if "no-worker" in reasons:
        return "failed", "no worker"
    if reasons:
        return "delayed", "stuck"
    return "", ""


def oldest(age: float | None, now: datetime) -> str | None:
    """Return the date since which the oldest pending job could have been claimed, the same one at each look."""
    if age is None:
        return None
    moment = now - timedelta(seconds=age)
    return moment.replace(second=moment.second // _AGE_SECONDS * _AGE_SECONDS, microsecond=0).isoformat()


def _has_paused(change: Mapping[str, Any]) -> bool:
    return bool((change["after"] or {}).get("paused")) and not (change["before"] or {}).get("paused")
