"""The span of time that a page with charts shows, from its address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import parsed
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import Refused, View

WINDOWS: Final = {
    "5m": ("5 min", timedelta(minutes=5)),
    "1h": ("1 h", timedelta(hours=1)),
    "24h": ("24 h", timedelta(hours=24)),
    "7d": ("7 d", timedelta(days=7)),
}
USUAL: Final = "1h"
_STEPS: Final = {
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": 3600,
    "3h": 10_800,
    "6h": 21_600,
    "1d": 86_400,
}
_MOST_STEPS: Final = 60
_KEPT_SECONDS: Final = 0.9
_NEARLY_A_MINUTE: Final = timedelta(seconds=59)
"""A chosen span ends with its last minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of time; ``window`` is its name, or empty for one that was chosen in a chart."""

    window: str
    since: datetime
    until: datetime

    @property
    def step(self) -> str:
        """The shortest step of the API that makes few enough of them."""
        seconds = (self.until - self.since).total_seconds()
        fitting = (name for name, length in _STEPS.items() if seconds / length <= _MOST_STEPS)
        return next(fitting, "1d")


def span(view: View) -> Span:
    """Return the span of a page; one that is no span is the last hour."""
    since, until = parsed(view.query("from")), parsed(view.query("to"))
    if since is not None and until is not None and since < until and since < view.now:
        try:
            return Span(window="", since=since.astimezone(UTC), until=min(until.astimezone(UTC), view.now))
        except OverflowError:
            pass
    window = view.query("window", USUAL)
    window = window if window in WINDOWS else USUAL
    return Span(window=window, since=view.now - WINDOWS[window][1], until=view.now)


async def series(view: View, wanted: Span, **query: str) -> dict[str, Any] | Refused | str:
    """Return the series of a span, or a sentence if there is none, or the reason why this visitor may not see it."""
    dates = {"from": _date(wanted.since)}
    if not wanted.window:
        dates["to"] = _date(wanted.until + _NEARLY_A_MINUTE)
    try:
        return await _ask(view, {"step": wanted.step, **dates, **query})
    except InvalidInputError:
        # The minutes of long ago are not kept, but the hours.
        try:
            return await _ask(view, {"step": max(wanted.step, "1h", key=_STEPS.__getitem__), **dates, **query})
        except InvalidInputError as error:
            return "; ".join(text for texts in error.problems.values() for text in texts)


async def _ask(view: View, query: dict[str, str]) -> dict[str, Any] | Refused:
    # Visits within a minute share the work, as their spans begin in the same minute.
    return await view.try_kept(_KEPT_SECONDS, "/v1/stats/series", query)


def _date(moment: datetime) -> str:
    return moment.replace(second=0, microsecond=0).isoformat().replace("+00:00", "Z")
