"""The words of messages: plain text that no name in it can turn into anything else."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from jobqueue.domain.durations import spoken
from jobqueue.domain.jobs import json_form
from jobqueue.domain.text import cut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.alerts.incident import Event, Incident, Thing

LONGEST: Final = 2_000
"""Bytes of a sentence, and of a text in the details."""
_MOST_ITEMS: Final = 20
_MOST_FIELDS: Final = 50
_DEEPEST: Final = 4
_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_ESCAPES: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("@"): "@\u200b"}
_HEADLINES: Final = {"new": "", "again": "again: ", "reminder": "still: ", "over": "", "test": ""}


def plain(text: str, most: int = LONGEST) -> str:
    """Return a text on one line, without control characters and marks of direction."""
    seen = "".join(" " if unicodedata.category(letter) in _UNSEEN else letter for letter in text[: 4 * most])
    return cut(" ".join(seen.split()), most)


def escaped(text: str) -> str:
    """Return a text in which Slack and its kind find no link and nobody to call."""
    return text.translate(_ESCAPES)


def bounded(value: Any, depth: int = 0) -> Any:
    """Return a JSON value with texts, lists and objects of bounded size."""
    if isinstance(value, str):
        return cut(value, LONGEST)
    if depth == _DEEPEST and isinstance(value, list | dict):
        return "…"
    if isinstance(value, dict):
        return {key[:LONGEST]: bounded(value[key], depth + 1) for key in list(value)[:_MOST_FIELDS]}
    if isinstance(value, list):
        return [bounded(item, depth + 1) for item in value[:_MOST_ITEMS]]
    return value


def body(incident: Incident, event: Event, thing: Thing | None, now: datetime) -> dict[str, Any]:
    """Return the body of a message, but for ``text`` and ``url``, which the sender adds.

    Args:
        incident: with the number of this message.
        event: the kind of message.
        thing: as it is now; ``None`` if it is over.
        now: the date of the message.
    """
    command = ["jobqueue", *thing.command] if thing is not None and thing.command else None
    return {
        "alert": incident.alert,
        "event": event,
        "kind": incident.kind,
        "thing": incident.key,
        "incident": incident.id,
        "episode": incident.episode,
        "number": incident.number,
        "since": json_form.date(incident.since),
        "at": json_form.date(now),
        "message": incident.message,
        "command": command,
        "path": path(incident.kind, incident.key),
        "details": bounded(json_form.value(dict(thing.details))) if thing is not None else {},
    }


def test_body(alert: str, now: datetime) -> dict[str, Any]:
    """Return the body of a test message, as `body`."""
    return {
        "alert": alert,
        "event": "test",
        "kind": None,
        "thing": None,
        "incident": None,
        "episode": None,
        "number": None,
        "since": None,
        "at": json_form.date(now),
        "message": "this is a test: messages of this alert arrive",
        "command": None,
        "path": "/alerts",
        "details": {},
    }


def sent(made: Mapping[str, Any], public_url: str | None) -> dict[str, Any]:
    """Return the whole body of a request: with a text for chats, and a link if the address of a server is known."""
    shown = {name: value for name, value in made.items() if name != "path"}
    link = None if public_url is None else public_url.rstrip("/") + str(made.get("path") or "/")
    return {"text": text(made, link), "url": link, **shown}


def text(made: Mapping[str, Any], link: str | None) -> str:
    """Return a message as one text, which Slack and its kind show as it is."""
    headline = _HEADLINES.get(str(made.get("event")), "")
    line = escaped(plain(f"[{made.get('alert')}] {headline}{made.get('message')}", 2 * LONGEST))
    return line if link is None else f"{line}\n{link}"


def over(incident: Incident, now: datetime) -> str:
    """Return the sentence about the end of a thing."""
    return plain(f"over after {spoken((now - incident.since).total_seconds())}: {incident.message}")


def path(kind: str, key: str) -> str:
    """Return the path of the page about a thing."""
    name = quote(key.partition("/")[0], safe="")
    match kind:
        case "failures":
            return f"/failures/{name}" if name != "many" else "/failures"
        case "queue" | "breaker":
            return f"/queues/{name}"
        case "schedule":
            return f"/schedules?name={name}"
        case _:
            return f"/jobs/{name}"
