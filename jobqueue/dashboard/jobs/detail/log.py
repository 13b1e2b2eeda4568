"""The log of a job: the end of it on the page of the job, and a page of its own from any line on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.detail.brief import brief, whole
from jobqueue.dashboard.jobs.detail.room import Room
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.preferences import Preferences
    from jobqueue.dashboard.frame.view import View

TAIL: Final = 12
LINES: Final = 100
LEVELS: Final = ("info", "warning", "error")
_END: Final = "999999999"
_LOOKS: Final = {
    **dict.fromkeys(("warn", "warning"), "delayed"),
    **dict.fromkeys(("error", "err", "critical", "fatal"), "failed"),
}
_SAME: Final = {
    "warning": ("warning", "warn"),
    "error": ("error", "critical", "fatal"),
}
"""Levels that one choice stands for."""
_TAGS: Final = 220
"""Bytes of the tags of one line."""
_ROOM: Final = 45_000
_TAIL_ROOM: Final = 6_000
_LONGEST_LEVEL: Final = 20
_CONTEXT: Final = 20
"""Lines before the one that an address names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line.

    Attributes:
        at: its time in UTC, for programs.
        clock: its time of day in the visitor's zone.
        day: the day, where it is another one than that of the line before.
        look: the state class of its level.
    """

    number: int
    at: str
    clock: str
    day: str
    level: str
    look: str
    text: str
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The part of a log that an address chooses."""

    attempt: str = ""
    level: str = ""
    q: str = ""
    line: str = ""
    before: str = ""
    cursor: str = ""

    @property
    def is_end(self) -> bool:
        """True for the end of the log, which follows new lines."""
        return not (self.line or self.before or self.cursor)

    def narrowed(self) -> dict[str, str]:
        """Return the parameters of the API that choose lines."""
        levels = ",".join(_SAME.get(self.level, (self.level,))) if self.level else ""
        named = {"attempt": self.attempt, "level": levels, "q": self.q}
        return {name: value for name, value in named.items() if value}

    def href(self, job_id: str, **place: Any) -> str:
        """Return the address of another place, or of another part, of the log; without an id, on its own page."""
        kept = {"attempt": self.attempt, "level": self.level, "q": self.q} | place
        query = {name: value for name, value in kept.items() if value}
        return link(f"/jobs/{quoted(job_id)}/log", **query) if job_id else f"?{urlencode(query)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Lines of a log.

    Attributes:
        count: the number of all lines.
        earlier: the ``before`` of the lines before these.
        next: the cursor of the lines after these.
        ended: the job has ended, and these are its last lines.
        problem: the reason why a choice finds nothing.
    """

    lines: Sequence[Line] = ()
    count: int = 0
    earlier: int | None = None
    next: str | None = None
    ended: bool = False
    problem: str = ""
    choice: Choice = field(default_factory=Choice)


def tail_query() -> dict[str, str]:
    """Return the parameters of the last lines."""
    return {"before": _END, "limit": str(TAIL)}


def tail(reply: Mapping[str, Any], preferences: Preferences) -> Log:
    """Return the last lines of a reply of the API."""
    return _log(reply, Choice(), Room(_TAIL_ROOM), preferences)


def _log(reply: Mapping[str, Any], choice: Choice, room: Room, preferences: Preferences) -> Log:
    items = reply["items"]
    most = max(120, (room.left - _TAGS * len(items)) // max(1, len(items)))
    lines: list[Line] = []
    day = preferences.local(datetime.now(UTC)).date()
    for item in items:
        local = preferences.local(datetime.fromisoformat(item["t"]))
        lines.append(_line(item, room, most, local, is_new_day=local.date() != day))
        day = local.date()
    return Log(
        lines=lines,
        count=reply["count"],
        earlier=reply["earlier"],
        next=reply["next"],
        ended=reply["ended"],
        choice=choice,
    )


def _line(item: Mapping[str, Any], room: Room, most: int, local: datetime, *, is_new_day: bool) -> Line:
    text, level = str(item["m"]), str(item.get("level") or "")
    room.take(_TAGS)
    shown = room.text(text, most)
    return Line(
        number=item["number"],
        at=item["t"],
        clock=f"{local:%H:%M:%S}.{local.microsecond // 1000:03}",
        day=f"{local.day} {local:%b %Y}" if is_new_day else "",
        level=room.text(level, _LONGEST_LEVEL),
        look=_LOOKS.get(level.lower(), ""),
        text=shown,
        is_cut=shown != text,
    )


async def _load(view: View) -> dict[str, Any]:
    job_id = view.path("id")
    names = ("attempt", "level", "q", "line", "before", "cursor")
    choice = Choice(**{name: view.query(name).strip() for name in names})
    job = await brief(view, job_id)
    try:
        log = await _page(view, job_id, choice)
    except InvalidInputError as error:
        # Somebody has mistyped an address.
        log = Log(choice=choice, problem=str(error))
    return {"job": job, "log": log, "levels": LEVELS}


async def _page(view: View, job_id: str, choice: Choice) -> Log:
    query = {**choice.narrowed(), "limit": str(LINES)}
    if view.query("whole"):
        query |= {"line": choice.line, "limit": "1"}
    elif line := whole(choice.line):
        query["line"] = str(max(1, line - _CONTEXT))
    elif choice.cursor:
        query["cursor"] = choice.cursor
    else:
        query["before"] = choice.before or _END
    reply = await view.ask(f"/v1/jobs/{quoted(job_id)}/logs", query)
    return _log(reply, choice, Room(_ROOM), view.preferences)


LOG: Final = Page(
    path="/jobs/{id}/log", template="jobs/log.html", load=_load, nav="Jobs", events="job={id}&progress=true"
)
