"""Alerts: where messages go, what goes on, and what they said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.domain.alerts import message
from jobqueue.domain.alerts.alert import ALERT_QUEUE, KINDS

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_MESSAGES: Final = "30"
_FIELDS: Final = "id,type,state,data,insertAt,endAt,attemptsMade,attempts,delayTil,error"
_WORDS: Final[Mapping[str, str]] = {
    "success": "delivered",
    "pending": "waits",
    "delayed": "waits",
    "processing": "is being sent",
    "failed": "not delivered",
    "killed": "given up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageText:
    """A message for people.

    Attributes:
        word: the state of its delivery.
        href: of the page about its thing; empty if it is about none.
        error: the reason why it is not delivered yet, or at all.
    """

    job: Mapping[str, Any]
    word: str
    alert: str
    event: str
    message: str
    href: str
    error: str


def message_text(job: Mapping[str, Any]) -> MessageText:
    """Return a message of the API for people; its data may be anything that a program has added."""
    data = job.get("data")
    said: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    kind, thing = str(said.get("kind")), str(said.get("thing"))
    error = job.get("error") or {}
    return MessageText(
        job=job,
        word=_WORDS[job["state"]],
        alert=str(said.get("alert", "")),
        event=str(said.get("event", "")),
        message=str(said.get("message", "")),
        href=message.path(kind, thing) if kind in KINDS else "",
        error=str(error.get("message", "")) if job["state"] != "success" else "",
    )


async def _load(view: View) -> dict[str, Any]:
    cursor = view.query("cursor")
    asked = {"queue": ALERT_QUEUE, "limit": _MESSAGES, "fields": _FIELDS} | ({"cursor": cursor} if cursor else {})
    alerts, messages = await asyncio.gather(view.try_ask("/v1/alerts"), view.try_ask("/v1/jobs", asked))
    following = messages["next"] if messages else None
    return {
        "alerts": alerts,
        "messages": [message_text(job) for job in messages["items"]] if messages else [],
        "kinds": len(KINDS),
        "first": link("/alerts") if cursor else None,
        "following": link("/alerts", cursor=following) if following else None,
    }


ALERTS = Page(path="/alerts", template="alerts/alerts.html", load=_load, nav="Alerts", events=f"queue={ALERT_QUEUE}")
