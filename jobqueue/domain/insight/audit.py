"""Who changed what, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.iso8601 import check_aware

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who changes something.

    Attributes:
        name: of the token, of the system's user, or of the process.
        via: ``http``, ``cli`` or ``python``.
        address: where the request came from, as far as there is one.
    """

    name: str
    via: str
    address: str | None = None

    def wire(self) -> dict[str, Any]:
        """Return the form it is stored and shown in."""
        return {"name": self.name, "via": self.via} | ({"from": self.address} if self.address else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change; ``before`` and ``after`` have their secrets masked, and are ``None`` where there was nothing.

    Attributes:
        target: ``{kind, name}`` of what was changed.
        unconfirmed: it was begun, and nobody noted that it was made.
    """

    id: str
    at: datetime
    by: Mapping[str, Any]
    action: str
    before: Any
    after: Any
    target: Mapping[str, Any]
    unconfirmed: bool = False

    def wire(self) -> dict[str, Any]:
        """Return the form it is shown in."""
        return {
            "id": self.id,
            "at": json_form.date(self.at),
            "by": dict(self.by),
            "action": self.action,
            "target": dict(self.target),
            "before": json_form.value(self.before),
            "after": json_form.value(self.after),
            "unconfirmed": self.unconfirmed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which changes to list, newest first; ``cursor`` is the id of the last one of the page before."""

    kind: str | None = None
    name: str | None = None
    action: str | None = None
    actor: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    cursor: str | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        check_aware(after=self.after, before=self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNote:
    """What the audit says of a change; ``before`` and ``after`` have their secrets masked."""

    action: str
    by: Actor
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
