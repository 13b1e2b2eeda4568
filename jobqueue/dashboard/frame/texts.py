"""Values as texts and marks for people: times, spans, numbers, ids."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from jobqueue.domain.jobs.short_ids import tail

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.preferences import Preferences

NONE: Final = "\N{EN DASH}"
"""The mark where there is no value."""
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_FEW: Final = 10
_ID: Final = re.compile(r"[0-9a-f]{24}")
_DATE_OR_ID: Final = re.compile(r"(\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z|\b[0-9a-f]{24}\b)", re.ASCII)
_THOUSAND: Final = 1000


def number(value: float | None) -> str:
    """Return a number with commas between thousands; a dash for none."""
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) or not float(value).is_integer() else f"{int(value):,}"


def count(value: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, such as ``1 job`` or ``1,204 jobs``."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def span(seconds: float | None) -> str:
    """Return a length of time in its two largest units, such as ``2 min 25 s``; a dash for none."""
    if seconds is None:
        return NONE
    if abs(seconds) < _FEW and not float(seconds).is_integer():
        return f"{round(seconds * _THOUSAND)} ms" if abs(seconds) < 1 else f"{seconds:.1f} s"
    left = int(abs(seconds))
    parts = []
    for size, unit in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
            if unit == "s" or len(parts) > 1:
                break
        elif parts:
            break
    return " ".join(parts) or "0 s"


def about(seconds: float | None) -> str:
    """Return a length of time in its largest unit, which does not change each second; a dash for none."""
    return NONE if seconds is None else coarse(seconds)


def coarse(seconds: float) -> str:
    """Return a length of time in its largest unit, such as ``13 min``."""
    return next((f"{int(seconds) // size} {unit}" for size, unit in _UNITS if seconds >= size), "0 s")


def clock(seconds: float | None) -> str:
    """Return a length of time as ``m:ss`` or ``h:mm:ss``; a dash for none."""
    if seconds is None:
        return NONE
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def size(octets: int) -> str:
    """Return a number of bytes, such as ``4.2 MB``."""
    value = float(octets)
    for unit in ("B", "kB", "MB"):
        if value < _THOUSAND:
            return f"{value:.0f} {unit}" if unit == "B" or value >= _FEW else f"{value:.1f} {unit}"
        value /= _THOUSAND
    return f"{value:.1f} GB"


def compact(value: Any) -> str:
    """Return a value as JSON in one line, with exact numbers."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def between(start: Any, end: Any) -> float | None:
    """Return the seconds between two times of the API's JSON; ``None`` unless there are both."""
    began, ended = parsed(start), parsed(end)
    return None if began is None or ended is None else max(0.0, (ended - began).total_seconds())


def short(job_id: str) -> str:
    """Return the short form of an id."""
    return f"…{tail(job_id)}"


def sentence(text: str) -> str:
    """Return a text whose first letter is a capital; the others stay."""
    return text[:1].upper() + text[1:]


def shorten(text: Any, most: int = 200) -> str:
    """Return a value as a text of one line of at most so many characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def parsed(value: Any) -> datetime | None:
    """Return a time of the API's JSON; ``None`` for another value."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


class Times:
    """Times as the visitor wants to read them."""

    def __init__(self, now: datetime, preferences: Preferences) -> None:
        self._now, self._preferences = now, preferences

    def relative(self, value: Any) -> Markup | str:
        """Return a time as its distance from now, such as ``13 min ago``; the exact time is in the title."""
        moment = parsed(value)
        if moment is None:
            return NONE
        return self._marked(moment, self.distance(moment), "r")

    def since(self, value: Any) -> Markup | str:
        """Return the time that has passed since, such as ``13 min``."""
        moment = parsed(value)
        return NONE if moment is None else self._marked(moment, coarse((self._now - moment).total_seconds()), "s")

    def absolute(self, value: Any) -> Markup | str:
        """Return a time of the visitor's zone, such as ``24 Nov 14:19:09``, with the year where it is another."""
        moment = parsed(value)
        return NONE if moment is None else self._marked(moment, self._local(moment), "")

    def told(self, text: str) -> Markup:
        """Return a sentence with its dates as the visitor wants to read them, and links for ids of jobs."""
        parts = _DATE_OR_ID.split(text)
        return Markup("").join(self._mark(part) if place % 2 else part for place, part in enumerate(parts))

    def _mark(self, text: str) -> Markup | str:
        if _ID.fullmatch(text) is None:
            return self.absolute(text)
        return Markup('<a href="/jobs/{}" class="w" title="{}"><code>{}</code></a>').format(text, text, short(text))

    def distance(self, moment: datetime) -> str:
        """Return a time as its distance from now."""
        seconds = (self._now - moment).total_seconds()
        if abs(seconds) < 1:
            return "now"
        return f"{coarse(seconds)} ago" if seconds > 0 else f"in {coarse(-seconds)}"

    def _local(self, moment: datetime) -> str:
        local, today = self._preferences.local(moment), self._preferences.local(self._now)
        if local.date() == today.date():
            return f"today {local:%H:%M:%S}"
        if local.date() == today.date() - timedelta(days=1):
            return f"yesterday {local:%H:%M:%S}"
        return f"{local.day} {local:%b %H:%M:%S}" if local.year == today.year else f"{local.day} {local:%b %Y %H:%M}"

    def _marked(self, moment: datetime, text: str, kind: str) -> Markup:
        local, utc = self._preferences.local(moment), moment.astimezone(UTC)
        title = f"{local:%Y-%m-%d %H:%M:%S} {self._preferences.city}, {utc:%Y-%m-%d %H:%M:%S} UTC"
        mark = Markup('<time datetime="{}" title="{}"{}>{}</time>')
        exact = utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return mark.format(exact, title, Markup(' data-t="{}"').format(kind) if kind else "", text)
