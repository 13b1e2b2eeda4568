"""Incidents: things that an alert has told of, and the next message about each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.domain.values.iso8601 import moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.alerts.alert import Alert, StoredAlert

Event = Literal["new", "again", "reminder", "over"]
EVENTS: Final = ("new", "again", "reminder", "over", "test")
"""The kinds of messages."""
KEPT: Final = timedelta(days=90)
"""Time after its end for which an incident is remembered: after that, the thing is new again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A thing that needs somebody, as alerts see it.

    Attributes:
        kind: one of `alert.KINDS`.
        key: tells it from others of its kind; it stays the same while the thing goes on.
        queues: to which it belongs.
        message: a sentence.
        command: the words of the command of ``jobqueue`` that mends it, or says more.
        details: for programs, in JSON form.
    """

    kind: str
    key: str
    queues: tuple[str, ...]
    message: str
    command: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def concerns(self, alert: Alert, now: datetime) -> bool:
        """Tell whether an alert is about this thing."""
        if self.kind not in alert.kinds or set(self.queues) == {ALERT_QUEUE}:
            return False
        if alert.queues is not None and not set(alert.queues) & set(self.queues):
            return False
        match self.kind:
            case "failures":
                return bool(self.details.get("count", alert.minimum_failures) >= alert.minimum_failures)
            case "queue":
                return bool(self.details["oldestPendingAge"] >= alert.stuck_seconds)
            case "doubt" | "question":
                return now - moment(self.details["since"]) >= timedelta(seconds=alert.waiting_seconds)
            case _:
                return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that is decided, and perhaps not yet a job.

    Attributes:
        number: of the message within its episode, from 1 on.
        at: the date of the decision.
        body: of the request, as JSON, but for what the sender adds.
    """

    number: int
    at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A thing that an alert has told of.

    Attributes:
        alert: its name.
        episode: how often the thing has begun.
        number: of the last message of the episode.
        since: the begin of the episode.
        told_at: the date of the last message.
        standing: the thing goes on, or the message about its end is not a job yet.
        message: the sentence of the last message that was no reminder of the end.
        waiting: the last message, until it is a job.
    """

    id: str
    alert: str
    kind: str
    key: str
    episode: int
    number: int
    since: datetime
    told_at: datetime
    standing: bool
    message: str
    waiting: Message | None = None


def incident_id(incarnation: str, kind: str, key: str) -> str:
    """Return the id of the incident of a thing for one incarnation of an alert."""
    return hashlib.sha256(f"{incarnation}:{kind}:{key}".encode()).hexdigest()[:32]


def test_id(stored: StoredAlert) -> str:
    """Return what stands for the incident in the ids of an alert's test messages."""
    return f"{stored.incarnation}:test"


def message_id(incident: str, episode: int, number: int, at: datetime) -> str:
    """Return the id of the job that is a message: the same message is the same job."""
    digest = hashlib.sha256(f"{incident}:{episode}:{number}".encode()).digest()
    return ((int(at.timestamp()) % 2**32).to_bytes(4, "big") + digest[:8]).hex()


def due(alert: Alert, before: Incident | None, *, stands: bool, now: datetime) -> Event | None:
    """Return the message that is due about a thing.

    Args:
        alert: the alert.
        before: what is known of the thing.
        stands: the thing goes on.
        now: the present.
    """
    if before is None or not before.standing:
        return None if not stands else "new" if before is None else "again"
    if not stands:
        return "over"
    if alert.remind_seconds is None or now - before.told_at < timedelta(seconds=alert.remind_seconds):
        return None
    return "reminder"
