"""The audit: who has changed what, when and how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import Refused, quoted
from jobqueue.dashboard.insight.differences import Difference, difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = "20"
_KINDS: Final = ("job", "batch", "queue", "schedule", "alert", "operation", "token", "worker")
_TEXTS: Final = ("actor", "kind", "name", "action")
_TIMES: Final = ("after", "before")
_PATHS: Final = {"job": "/jobs/", "batch": "/batches/", "queue": "/queues/", "operation": "/operations/"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryText:
    """A change for people; ``href`` leads to its target, and is empty if there is no page for that."""

    entry: Mapping[str, Any]
    kind: str
    name: str
    href: str
    change: Difference


def entry_text(entry: Mapping[str, Any]) -> EntryText:
    """Return a change of the API for people."""
    kind, name = str(entry["target"].get("kind", "")), str(entry["target"].get("name", ""))
    href = f"{_PATHS[kind]}{quoted(name)}" if kind in _PATHS else ""
    if kind == "alert":
        href = "/alerts"
    if kind == "schedule":
        href = link("/schedules", name=name)
    return EntryText(entry=entry, kind=kind, name=name, href=href, change=difference(entry["before"], entry["after"]))


async def _load(view: View) -> dict[str, Any]:
    given = {name: view.query(name).strip() for name in (*_TEXTS, *_TIMES)}
    asked = {name: value for name, value in given.items() if value}
    # The form sends a local time without a zone.
    api = {name: _moment(view, value) if name in _TIMES else value for name, value in asked.items()}
    cursor = view.query("cursor")
    changes = await view.try_ask("/v1/audit", api | {"limit": _LIMIT} | ({"cursor": cursor} if cursor else {}))
    page = {"items": [], "next": None} if isinstance(changes, Refused) else changes
    following = page["next"]
    return {
        "changes": changes,
        "rows": [entry_text(entry) for entry in page["items"]],
        "given": given,
        "is_filtered": bool(asked),
        "kinds": _KINDS,
        "first": link("/audit", **asked) if cursor else None,
        "following": link("/audit", **asked, cursor=following) if following else None,
    }


def _moment(view: View, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo is not None else moment.replace(tzinfo=view.preferences.zone).isoformat()


AUDIT = Page(path="/audit", template="insight/audit.html", load=_load, nav="Audit", events=None)
