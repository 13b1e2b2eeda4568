"""Parts of a job that its attempts leave: claims, errors, log lines and entries of its history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.text import cut, told

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.attempts.states import Outcome

LONGEST_KIND: Final = 500
LONGEST_MESSAGE: Final = 8 * 1024
LONGEST_TRACE: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A log line of a job; ``t`` is the server's time, ``m`` the text."""

    t: datetime
    m: str
    level: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """The reason why an attempt did not succeed; ``trace`` is a traceback or an excerpt of the reply.

    Every part becomes text that MongoDB can keep, so that no outcome is lost for its reason. ``step`` is the name of
    the step that failed.
    """

    kind: str
    message: str
    trace: str | None = None
    step: str | None = None

    def __post_init__(self) -> None:
        for name, most in (("kind", LONGEST_KIND), ("message", LONGEST_MESSAGE), ("trace", LONGEST_TRACE)):
            value: object = getattr(self, name)
            if name != "trace" or value is not None:
                object.__setattr__(self, name, cut(value if type(value) is str else told(value), most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The number of uncounted runs of a job in a row; ``at`` is the beginning of the last one."""

    count: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The fencing token of the current attempt, and its worker.

    Attributes:
        own_lease: seconds, if the lease differs from the job's.
        margin: seconds beyond the job's timeout that the worker may need to end the run itself.
        beside: as in `crash.Neighbour`.
        step: the name of the step that was under way at the last heartbeat.
        repeats: how often the worker has repeated the request for the job.
    """

    token: str
    worker: str
    own_lease: float | None = None
    margin: float = 0
    beside: datetime | None = None
    step: str | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One entry of a job's history: a start, or a requeue by a person.

    Attributes:
        attempt: the number of the attempt; an uncounted one shares its number with the next.
        version: of the worker's program, as far as it is known.
        code: HTTP status or exit code.
        late: the report of a worker that had lost the claim.
        was: values that a requeue replaced.
        operation: the id of the operation that requeued the job.
        ready_at: the date from which the job could be claimed for this attempt.
        steps: names of the steps that finished in the attempt.
        forgot: names of the steps that run again after a requeue.
    """

    attempt: int
    token: str | None = None
    worker: str | None = None
    version: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    outcome: Outcome | None = None
    error: JobError | None = None
    code: int | None = None
    late: Mapping[str, Any] | None = None
    was: Mapping[str, Any] | None = None
    operation: str | None = None
    ready_at: datetime | None = None
    steps: tuple[str, ...] | None = None
    forgot: tuple[str, ...] | None = None
