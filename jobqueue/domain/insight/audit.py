"""The audit of changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.values.iso8601 import check_aware

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The author of a change.

    Attributes:
        name: the name of the token, of the system's user, or of the process.
        via: ``http``, ``cli`` or ``python``.
        address: the address of the client, if there was a request.
    """

    name: str
    via: str
    address: str | None = None

    def wire(self) -> dict[str, Any]:
        """Return the JSON form, which is also the stored form."""
        return {"name": self.name, "via": self.via} | ({"from": self.address} if self.address else {})


PYTHON: Final = Actor(name="python", via="python")
"""A program that changes something through a `JobQueue`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change; ``before`` and ``after`` are masked, and ``None`` where there was nothing.

    Attributes:
        target: ``{kind, name}`` of the changed resource.
        unconfirmed: the change was begun, and its end was not noted.
    """

    id: str
    at: datetime
    by: Mapping[str, Any]
    action: str
    before: Any
    after: Any
    target: Mapping[str, Any]
    unconfirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """A query for changes, newest first.

    Attributes:
        but: an action whose entries are left out.
        cursor: the id of the last change of the page before.
    """

    kind: str | None = None
    name: str | None = None
    action: str | None = None
    but: str | None = None
    actor: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    cursor: str | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        check_aware(after=self.after, before=self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNote:
    """A change to be noted in the audit; ``before`` and ``after`` are masked."""

    action: str
    by: Actor
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
