"""The parts of a job that its attempts leave: claims, errors, log lines and entries of its history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.text import cut, told

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.jobs.states import Outcome


LONGEST_KIND: Final = 500


LONGEST_MESSAGE: Final = 8 * 1024


LONGEST_TRACE: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line a job wrote; ``t`` is the server's time, ``m`` the text."""

    t: datetime
    m: str
    level: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt did not succeed; ``trace`` is a traceback or an excerpt of what came back.

    Every part becomes text that MongoDB can keep, whatever it is made of: an outcome is never lost for its reason.
    """

    kind: str
    message: str
    trace: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", cut(_words(self.kind), LONGEST_KIND))
        object.__setattr__(self, "message", cut(_words(self.message), LONGEST_MESSAGE))
        if self.trace is not None:
            object.__setattr__(self, "trace", cut(_words(self.trace), LONGEST_TRACE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a job went back uncounted in a row; ``at`` is when the last of these runs had begun."""

    count: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The fencing token of the current attempt, and who holds it.

    Attributes:
        own_lease: seconds, if not the job's own.
        margin: seconds beyond the job's timeout that its worker may need to end the run itself.
        beside: as in `crash.Neighbour`.
    """

    token: str
    worker: str
    own_lease: float | None = None
    margin: float = 0
    beside: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One entry of a job's history: a start, or a requeue by a person.

    Attributes:
        attempt: the number of the attempt; an uncounted one shares its number with the next.
        code: HTTP status or exit code.
        late: what the worker reported after it had lost the claim.
        was: values that a requeue replaced.
        operation: the id of the operation that requeued it with others.
        ready_at: when the job could have been claimed for it.
    """

    attempt: int
    token: str | None = None
    worker: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    outcome: Outcome | None = None
    error: JobError | None = None
    code: int | None = None
    late: Mapping[str, Any] | None = None
    was: Mapping[str, Any] | None = None
    operation: str | None = None
    ready_at: datetime | None = None


def _words(value: object) -> str:
    return value if type(value) is str else told(value)
