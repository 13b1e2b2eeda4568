"""Rows of tables of queues: a queue's configuration with its figures of the last hours."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.queues.standing import oldest, standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from jobqueue.dashboard.frame.view import View

DAY_KEPT_SECONDS: Final = 15.0
_HOURS: Final = timedelta(hours=23)
_MINUTE: Final = 60
_TEN: Final = 10
_RATE_WINDOW: Final = "5m"


async def day(view: View) -> dict[str, Any] | None:
    """Return the activity of the last day by the hour, of all queues and of each."""
    since = (view.now - _HOURS).replace(minute=0, second=0, microsecond=0)
    query = {"step": "1h", "by": "queue", "from": since.isoformat().replace("+00:00", "Z")}
    return await view.try_kept(DAY_KEPT_SECONDS, "/v1/stats/series", query) or None


def rows(
    queues: Iterable[Mapping[str, Any]],
    stats: Mapping[str, Any],
    hours: Mapping[str, Any] | None,
    now: datetime,
    reasons: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Return queues with their figures.

    Args:
        queues: of the API.
        stats: the statistics of the windows of five minutes and of a day.
        hours: as `day`.
        now: the present.
        reasons: the kinds of reasons of queues that are stuck, by name.
    """
    recent = {figures["queue"]: figures for figures in stats["windows"][_RATE_WINDOW]["queues"]}
    last_day = {figures["queue"]: figures for figures in stats["windows"]["24h"]["queues"]}
    series = {own["queue"]: own["points"] for own in (hours or {}).get("queues", ())}
    return [
        row(queue, now, reasons.get(queue["name"], ()))
        | {
            "starts": brief(recent[queue["name"]]["perMinute"]["started"]) if queue["name"] in recent else 0,
            "failed": failed(last_day.get(queue["name"])),
            "succeeded": [point["succeeded"] for point in series.get(queue["name"], ())],
        }
        for queue in queues
    ]


def row(queue: Mapping[str, Any], now: datetime, reasons: Sequence[str] = ()) -> dict[str, Any]:
    """Return a queue with what its fields mean: its state in words, and the possible starts a minute."""
    state, text = standing(queue, reasons)
    rate = queue["rate"]
    return {
        "queue": queue,
        "state": state,
        "text": text,
        "possible": None if rate is None else brief(rate["limit"] * _MINUTE / rate["per"]),
        "oldest": oldest(queue["oldestPendingAge"], now),
        "is_full": queue["concurrency"] is not None
        and queue["limitBy"] is None
        and queue["counts"]["processing"] >= queue["concurrency"],
    }


def failed(figures: Mapping[str, Any] | None) -> int:
    """Return the number of jobs that have failed or were killed."""
    return 0 if figures is None else int(figures["failed"] + figures["killed"])


def brief(rate: float) -> float:
    """Return a rate with as many digits as tell something."""
    return round(rate, 1) if rate < _TEN else round(rate)
