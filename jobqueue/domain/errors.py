"""The errors of this package, as one tree.

::

    JobQueueError
    ├── InvalidInputError          a value the caller sent is not acceptable       422
    │   └── TooCostlyError         a search would look at too many jobs
    │       └── TooSlowError       a search took too long
    ├── BusyError                  too many calls at a time                        503
    │   └── OneAtATimeError        a second call of a caller at a time             429
    ├── TooLargeError              data, meta or result over its limit             413
    ├── ResultUnavailableError     a result has to be loaded, is lost, or is of another type
    ├── JobFailedError             the job whose result is asked for failed or was killed
    ├── ForbiddenError             the caller may not do this                      403
    ├── NotFoundError              no such job, queue, …                           404
    ├── ConflictError              the request does not fit the present state      409
    │   ├── StaleTokenError        the claim is no longer the current one
    │   ├── KeyConflictError       an unfinished job of the queue has this key
    │   ├── WrongStateError        the job's state does not allow this
    │   ├── OlderWorkersError      workers of an older version serve the queue
    │   ├── InFlightError          a request with this Idempotency-Key is under way
    │   └── UnfinishedJobsError    a queue with unfinished jobs is not deleted
    ├── ChangedMeanwhileError      the resource changed since the caller read it   412
    │   └── EditionChangedError    the document changed between read and write
    ├── SettingsError              settings, all mistakes at once
    ├── NotReadyError              no request can be served at the moment          503
    ├── WriteRefusedError          MongoDB refuses a write for an unforeseen reason  503
    └── DatabaseError              MongoDB cannot do what is needed                503
        ├── DatabaseUnavailableError
        ├── UnsuitableDatabaseError   a standalone, too old, unsafe write concern
        ├── NoDatabaseError           there is no database to read
        └── MongodNotFoundError       no mongod to start an embedded MongoDB with

Raised *by handlers* to decide a job's outcome, and therefore outside the tree: `Die`, `Retry`; by steps: `NotDone`.
Raised by `job.call` and `job.map` of handlers: `ChildFailedError`.
Raised *into handlers*: `JobCancelledError`, when the job was killed or its lease was lost; `SignalTimeoutError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from jobqueue.domain.durations import seconds
from jobqueue.domain.text import told, type_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

Problems = dict[str, list[str]]
"""Messages by field path, such as ``{"jobs.3.data.when": ["is not a JSON value"]}``."""


class JobQueueError(Exception):
    """The root of every error this package raises.

    Attributes:
        slug: a stable, hyphenated name of the error's kind; the last part of the problem type over HTTP.
    """

    slug: ClassVar[str] = "error"


class InvalidInputError(JobQueueError):
    """Name the unacceptable values of the caller, with the reasons.

    Attributes:
        problems: messages by field path.
    """

    slug = "invalid-input"

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        self.problems: Problems = {path: list(messages) for path, messages in problems.items()}
        super().__init__("; ".join(f"{path}: {', '.join(texts)}" for path, texts in self.problems.items()))

    def under(self, prefix: str) -> InvalidInputError:
        """Return the same problems with their paths below ``prefix``; an empty path is that of the whole value."""
        return InvalidInputError(
            {f"{prefix}.{path}" if path else prefix: messages for path, messages in self.problems.items()}
        )


class TooCostlyError(InvalidInputError):
    """Refuse a search that would look at too many jobs; the message says how to narrow it."""

    slug = "too-costly"


class TooSlowError(TooCostlyError):
    """Give up a search that takes too long."""

    slug = "too-slow"


class BusyError(JobQueueError):
    """Refuse a call while too many are under way; the call may be repeated."""

    slug = "busy"


class OneAtATimeError(BusyError):
    """Refuse a second call of a caller while the first is under way.

    Attributes:
        seconds: the time within which the first call ends.
    """

    slug = "one-at-a-time"

    def __init__(self, message: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(message)


class TooLargeError(JobQueueError):
    """Refuse a value over its size limit; sizes in bytes.

    Args:
        field: the name of the value.
        size: the size of the value, or of the part that was looked at.
        limit: the largest size.
        why: the reason why the value becomes text, if it does.
    """

    slug = "too-large"

    def __init__(self, field: str, size: int, limit: int, *, why: str | None = None) -> None:
        self.field, self.size, self.limit = field, size, limit
        text = "" if why is None else f" (as text, for {why})"
        super().__init__(f"{field} takes {size:,} bytes; the limit is {limit:,}{text}")


class ResultUnavailableError(JobQueueError):
    """Report that no result is at hand: it must be loaded first, its job was deleted, or it is of another type."""

    slug = "result-unavailable"


class JobFailedError(JobQueueError):
    """Report that a job has no result, because it failed or was killed.

    Attributes:
        job_id: of the job, 24 hex digits.
        state: ``failed`` or ``killed``.
        kind: of its error, such as the name of an exception.
        message: of its error.
        trace: the traceback or an excerpt of the reply, or ``None``.
    """

    slug = "job-failed"

    def __init__(self, job_id: str, state: str, *, kind: str, message: str, trace: str | None = None) -> None:
        self.job_id, self.state, self.kind, self.message, self.trace = job_id, state, kind, message, trace
        super().__init__(f"job {job_id} {'was killed' if state == 'killed' else state}: {kind}: {message}")


class ForbiddenError(JobQueueError):
    """Refuse a call that the caller may not make."""

    slug = "forbidden"


class NotFoundError(JobQueueError):
    """Report that nothing of this name exists."""

    slug = "not-found"

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"there is no {kind} {name}")


class ConflictError(JobQueueError):
    """Refuse a call that does not fit the present state."""

    slug = "conflict"


class CallFailedError(ConflictError):
    """Refuse to ask again, in the same attempt, for awaited children of which one has failed."""

    slug = "child-failed"


class StaleTokenError(ConflictError):
    """Refuse a report under a token that is not the job's current claim; the report is kept in the history."""

    slug = "stale-token"

    def __init__(self, job_id: str, state: str) -> None:
        self.job_id, self.state = job_id, state
        super().__init__(f"the token is not the current claim of job {job_id}, which is {state}")


class KeyConflictError(ConflictError):
    """Refuse a job whose key an unfinished job of the queue holds.

    Attributes:
        job_id: the holder, 24 hex digits; empty if it finished in the meantime.
    """

    slug = "key-conflict"

    def __init__(self, queue: str, key: str, job_id: str) -> None:
        self.queue, self.key, self.job_id = queue, key, job_id
        super().__init__(f"job {job_id} of queue {queue} is unfinished and has the key {key!r}")


class WrongStateError(ConflictError):
    """Refuse a transition that the job's state does not allow."""

    slug = "wrong-state"

    def __init__(self, job_id: str, state: str, verb: str) -> None:
        self.job_id, self.state, self.verb = job_id, state, verb
        super().__init__(f"job {job_id} is {state}: it cannot be {verb}")


class InFlightError(ConflictError):
    """Refuse the repetition of a request that is still under way."""

    slug = "in-flight"

    def __init__(self) -> None:
        super().__init__("a request with this Idempotency-Key is under way: repeat it in a moment")


class OlderWorkersError(ConflictError):
    """Refuse steps in a queue while workers of a version without steps serve it.

    Attributes:
        workers: their names.
    """

    slug = "older-workers"

    def __init__(self, queue: str, workers: Sequence[str]) -> None:
        self.queue, self.workers = queue, tuple(workers)
        names = ", ".join(self.workers[:5]) + (f" and {len(self.workers) - 5} more" if len(self.workers) > 5 else "")  # noqa: PLR2004 - shown
        super().__init__(
            f"queue {queue} takes no steps yet: workers of a version without steps serve it, too ({names}); "
            "stop or update them"
        )


class UnfinishedJobsError(ConflictError):
    """Refuse the deletion of a queue with unfinished jobs."""

    slug = "unfinished-jobs"

    def __init__(self, queue: str, count: int) -> None:
        self.queue, self.count = queue, count
        super().__init__(f"queue {queue} has {count:,} unfinished jobs; force kills them first")


class ChangedMeanwhileError(JobQueueError):
    """Refuse a change of a resource that changed since the caller read it, or that the caller excludes."""

    slug = "changed-meanwhile"

    def __init__(self, kind: str, name: str, *, excluded: bool = False) -> None:
        self.kind, self.name = kind, name
        super().__init__(
            f"{kind} {name} is there, which If-None-Match excludes"
            if excluded
            else f"{kind} {name} was changed meanwhile: read it again"
        )


class EditionChangedError(ChangedMeanwhileError):
    """Report that a document changed between read and write; both may be repeated."""


class SettingsError(JobQueueError):
    """List all mistakes in the settings."""

    slug = "settings"

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("settings: " + "; ".join(self.mistakes))


class NotReadyError(JobQueueError):
    """Report why no request can be served at the moment; everybody may read the message.

    Attributes:
        cause: the message of the driver, for the log.
    """

    slug = "not-ready"

    def __init__(self, reason: str, cause: str = "") -> None:
        self.cause = cause
        super().__init__(reason)


class WriteRefusedError(JobQueueError):
    """Report that MongoDB refuses to change one job for an unforeseen reason, which may pass or stay."""

    slug = "write-refused"


class DatabaseError(JobQueueError):
    """Report that MongoDB could not carry out a command."""

    slug = "database"


class DatabaseUnavailableError(DatabaseError):
    """Report that MongoDB could not be reached in time; the call may be repeated."""

    slug = "database-unavailable"


class UnsuitableDatabaseError(DatabaseError):
    """Refuse an unsuitable MongoDB: a standalone, an old server, an unsafe write concern."""

    slug = "unsuitable-database"


class NoDatabaseError(DatabaseError):
    """Report that there is no database to read; the message says how to name another."""

    slug = "no-database"


class MongodNotFoundError(DatabaseError):
    """Report that no mongod was found for an embedded MongoDB; the message says how to install it."""

    slug = "mongod-not-found"


class Die(Exception):  # noqa: N818 - a verb a handler raises, named by the contract
    """Raise in a handler: the job becomes `killed` at once, whatever attempts remain.

    In an exception group, such as that of a `TaskGroup`, a `Die` decides before a `Retry`, and a `Retry` before any
    other exception.

    Args:
        reason: becomes the error of the job: the text of an exception, or the ``str`` of any other object.
    """

    reason: str = ""

    def __init__(self, reason: object = "") -> None:
        self.reason = _reason(reason)
        super().__init__(self.reason)


class Retry(Exception):  # noqa: N818 - as Die
    """Raise in a handler: the job runs again, not counted as an attempt.

    In an exception group, a `Retry` decides unless the group has a `Die`; the longest delay holds.

    Args:
        reason: becomes the error of this run, as with `Die`.
        delay: seconds or a `timedelta` to wait first; a job comes back after 1 second at the earliest.

    Attributes:
        delay: in seconds.

    Raises:
        TypeError: the delay is neither a number nor a `timedelta`.
        ValueError: the delay is not finite, or longer than ten years.
    """

    reason: str = ""
    delay: float | None = None

    def __init__(self, reason: object = "", *, delay: float | timedelta | None = None) -> None:
        self.reason, self.delay = _reason(reason), seconds(delay, "delay")
        super().__init__(self.reason)


class NotDone(Exception):  # noqa: N818 - a statement of a handler, named by the contract
    """Raise in a step with ``once=True``: nothing has happened, so the step may run again."""


class StepError(Exception):
    """Say that a step of a handler has a name that cannot be used, or a result that cannot be kept."""


class SignalTimeoutError(Exception):
    """Raised into a handler: the signal that it waits for has not come in time."""


class JobCancelledError(Exception):
    """Raised into a handler whose job was killed or whose lease was lost; the outcome of the handler is not recorded.

    A handler that raises this error itself fails: use `Die` to end a job for good.
    """


def _reason(reason: object) -> str:
    if reason is None:
        return ""
    return told(reason) or (type_name(reason) if isinstance(reason, BaseException) else "")
