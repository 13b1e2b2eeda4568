"""Awaited children: jobs that a running job creates, and whose results become the result of one of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST_CALLED: Final = 5_000
"""Children of one step."""
RAISE: Final = "raise"
RETURN: Final = "return"
HOLD: Final = "hold"
FAILURES: Final = (RAISE, RETURN, HOLD)
"""A failed child raises an error, is returned in the place of its result, or holds its parent until it is requeued."""
CHILD: Final = "child"
"""Kind of the error of an attempt, or of a step, whose child has failed."""
DELETED: Final = "deleted"
"""Kind of the error of a child that was deleted before its result was read."""
MARK: Final = "childFailed"
"""The only member of an object that stands in the place of the result of a failed child."""
_LONGEST_MESSAGE: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFailure:
    """A child that has failed.

    Attributes:
        id: of the job.
        state: ``failed``, ``killed`` or ``deleted``.
        kind: of its error.
        message: of its error.
    """

    id: str
    state: str
    kind: str
    message: str

    @classmethod
    def of(cls, job_id: str, state: str, error: Any) -> ChildFailure:
        """Return the failure of a job with a stored error, which another tool may have spoilt."""
        stored = error if isinstance(error, Mapping) else {}
        kind, message = (str(stored.get(name) or "") for name in ("kind", "message"))
        return cls(id=job_id, state=state, kind=kind or state, message=message[:_LONGEST_MESSAGE])

    @classmethod
    def of_deleted(cls, job_id: str) -> ChildFailure:
        """Return the failure of a job that does not exist any more."""
        return cls(id=job_id, state=DELETED, kind=DELETED, message="the job was deleted")

    @classmethod
    def read(cls, stored: Any) -> ChildFailure | None:
        """Return a failure from the form of `wire`, or ``None`` for any other value."""
        if not isinstance(stored, Mapping) or not isinstance(stored.get("id"), str):
            return None
        return cls.of(stored["id"], str(stored.get("state") or DELETED), stored.get("error"))

    def wire(self) -> dict[str, Any]:
        """Return the failure as JSON."""
        return {"id": self.id, "state": self.state, "error": {"kind": self.kind, "message": self.message}}

    def place(self) -> dict[str, Any]:
        """Return the object that stands in the place of the result."""
        return {MARK: self.wire()}

    def sentence(self) -> str:
        """Return the failure as a part of a sentence."""
        if self.state == DELETED:
            return f"child {self.id} was deleted"
        how = "was killed" if self.state == "killed" else "has failed"
        return f"child {self.id} {how}: {self.kind}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The awaited children of a step.

    Attributes:
        id: of the call; the ids of its children follow from it.
        failures: one of `FAILURES`.
        created: all children were created, so none is created again.
        again: failed children are requeued when the step is asked for again.
        failure: the child for which the step has no result.
        failed_after: the token of the suspended attempt that this failure has ended.
        paged: the results are too large for one value; they stay with the children.
    """

    id: str
    failures: str = RAISE
    created: bool = False
    again: bool = False
    failure: ChildFailure | None = None
    failed_after: str | None = None
    paged: bool = False
