"""Changes of jobs as others are told of them, and which of them somebody wants to hear of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import attributes, json_form
from jobqueue.domain.jobs.states import State

if TYPE_CHECKING:
    from datetime import datetime

INSERTED: Final = "inserted"
PROGRESS: Final = "progress"
_OF_STATE: Final = {
    State.PENDING: "ready",
    State.PROCESSING: "started",
    State.DELAYED: "delayed",
    State.SUCCESS: "ended",
    State.FAILED: "ended",
    State.KILLED: "killed",
}
KINDS: Final = (INSERTED, "ready", "started", PROGRESS, "delayed", "ended", "killed")
_POSITION: Final = re.compile(r"[0-9A-Fa-f]{16,4096}")


def kind_of(state: State) -> str:
    """Return what it is called that a job has got into a state."""
    return _OF_STATE[state]


def check_position(value: str, path: str = "Last-Event-ID") -> str:
    """Return the id of an event.

    Raises:
        InvalidInputError: it is none.
    """
    if not _POSITION.fullmatch(value):
        raise InvalidInputError({path: ["must be the id of an event of this stream"]})
    return value.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One change of one job.

    Attributes:
        position: where in the order of all changes it is; later ones are greater as texts.
        kind: one of `KINDS`.
        queue: ``None``, as are type and batch, if the job was deleted long before anybody asked.
        attrs: what its ``meta`` could be searched by when it was looked at.
        attempt: how many attempts were counted when it was looked at.
    """

    position: str
    kind: str
    at: datetime
    job_id: str
    state: State | None = None
    queue: str | None = None
    type: str | None = None
    batch_id: str | None = None
    attempt: int | None = None
    progress: float | None = None
    error: tuple[str, str] | None = None
    attrs: frozenset[str] = field(default=frozenset())

    def wire(self) -> dict[str, Any]:
        """Return it as JSON."""
        error = None if self.error is None else {"kind": self.error[0], "message": self.error[1]}
        return {
            "event": self.kind,
            "at": json_form.date(self.at),
            "id": self.job_id,
            "queue": self.queue,
            "type": self.type,
            "state": self.state,
            "batchId": self.batch_id,
            "attempt": self.attempt,
            "progress": self.progress,
            "error": error,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which changes somebody wants to hear of; ``None`` and an empty tuple stand for any."""

    queue: str | None = None
    type: str | None = None
    job_id: str | None = None
    batch_id: str | None = None
    states: tuple[State, ...] = ()
    with_progress: bool = False
    scope: Scope = EVERYTHING

    def takes(self, event: JobEvent) -> bool:
        """Tell whether a change is one of them."""
        if event.kind == PROGRESS and not self.with_progress:
            return False
        wanted = (self.queue, self.type, self.job_id, self.batch_id)
        there = (event.queue, event.type, event.job_id, event.batch_id)
        if any(one is not None and one != other for one, other in zip(wanted, there, strict=True)):
            return False
        return (not self.states or event.state in self.states) and self._may_see(event)

    def _may_see(self, event: JobEvent) -> bool:
        if self.scope.is_everything:
            return True
        has_meta = all(attributes.encode(path, value) in event.attrs for path, value in self.scope.meta)
        return event.queue is not None and self.scope.has_queue(event.queue) and has_meta
