"""Events: changes of jobs, and filters of those changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import attributes, json_form

if TYPE_CHECKING:
    from datetime import datetime

INSERTED: Final = "inserted"
PROGRESS: Final = "progress"
STEP: Final = "step"
SUSPENDED: Final = "suspended"
SIGNAL: Final = "signal"
_OF_STATE: Final = {
    State.PENDING: "ready",
    State.PROCESSING: "started",
    State.DELAYED: "delayed",
    State.SUCCESS: "ended",
    State.FAILED: "ended",
    State.KILLED: "killed",
}
KINDS: Final = (INSERTED, "ready", "started", PROGRESS, STEP, "delayed", SUSPENDED, SIGNAL, "ended", "killed")
OF_RUNS: Final = frozenset({PROGRESS, STEP})
"""Kinds of events of a job that goes on running; a reader has to ask for them."""
_POSITION: Final = re.compile(r"[0-9A-Fa-f]{16,4096}")


def kind_of(state: State) -> str:
    """Return the kind of the event of a job that gets into a state."""
    return _OF_STATE[state]


def check_position(value: str, path: str = "Last-Event-ID") -> str:
    """Return the id of an event, or raise `InvalidInputError`."""
    if not _POSITION.fullmatch(value):
        raise InvalidInputError({path: ["must be the id of an event of this stream"]})
    return value.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One change of one job.

    Attributes:
        position: the place in the order of all changes; later places are greater texts.
        kind: one of `KINDS`.
        queue: ``None``, as are type and batch, if the job was deleted long before the event was read.
        attrs: the attributes of its ``meta`` when the job was read.
        attempt: the number of counted attempts when the job was read.
        step: the name of the step that has finished.
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
    step: str | None = None

    def wire(self) -> dict[str, Any]:
        """Return the JSON form."""
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
            "step": self.step,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Changes may have been missed before this position."""

    position: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """A filter of events; ``None`` and an empty tuple stand for any."""

    queue: str | None = None
    type: str | None = None
    job_id: str | None = None
    batch_id: str | None = None
    states: tuple[State, ...] = ()
    with_progress: bool = False
    scope: Scope = EVERYTHING

    def takes(self, event: JobEvent) -> bool:
        """Tell whether the filter takes an event."""
        if event.kind in OF_RUNS and not self.with_progress:
            return False
        expected = (self.queue, self.type, self.job_id, self.batch_id)
        actual = (event.queue, event.type, event.job_id, event.batch_id)
        if any(value is not None and value != other for value, other in zip(expected, actual, strict=True)):
            return False
        return (not self.states or event.state in self.states) and self._may_see(event)

    def _may_see(self, event: JobEvent) -> bool:
        if self.scope.is_everything:
            return True
        has_meta = all(attributes.encode(path, value) in event.attrs for path, value in self.scope.meta)
        return event.queue is not None and self.scope.has_queue(event.queue) and has_meta
