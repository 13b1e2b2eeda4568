"""Failed and killed jobs, grouped by their mistakes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.attempts.states import FAILURES
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.search import cursors
from jobqueue.domain.text import cut
from jobqueue.domain.values.checks import check_queue, check_type, gather
from jobqueue.domain.values.iso8601 import EPOCH, check_aware

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.attempts.states import State
    from jobqueue.domain.jobs.job import Job

MOST_GROUPS: Final = 200
"""Groups on one page."""
BY_COUNT: Final = "-count"
BY_LAST: Final = "-lastAt"
_TRACE_HEAD: Final = 2 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureQuery:
    """A query for a page of groups of failures.

    Attributes:
        fingerprint: only this group.
        sort: `BY_COUNT` or `BY_LAST`.
        after: the end of the page before: the count, or the date, and the fingerprint of its last group.

    Raises:
        InvalidInputError: naming each unacceptable value.
    """

    queue: str | None = None
    type: str | None = None
    states: tuple[State, ...] = FAILURES
    inserted_after: datetime | None = None
    inserted_before: datetime | None = None
    ended_after: datetime | None = None
    fingerprint: str | None = None
    sort: str = BY_COUNT
    limit: int = 50
    after: tuple[Any, str] | None = None

    @property
    def is_dated(self) -> bool:
        """True if the query has a date."""
        return any(date is not None for date in (self.inserted_after, self.inserted_before, self.ended_after))

    def cursor(self, last: FailureGroup) -> str:
        """Return the cursor of the page after ``last``, the end of a page."""
        value = last.count if self.sort == BY_COUNT else last.last_at and round(last.last_at.timestamp() * 1000)
        return cursors.pack(self.sort, value, last.fingerprint)

    def at(self, cursor: str | None) -> FailureQuery:
        """Return this query continued at a cursor of the same order.

        Raises:
            InvalidInputError: the text is no such cursor.
        """
        return self if cursor is None else cursors.unpack(cursor, self._after)

    def _after(self, sort: Any, value: Any, last: Any) -> FailureQuery:
        after = value if sort == BY_COUNT or value is None else EPOCH + timedelta(milliseconds=value)
        if sort != self.sort or not (value is None or type(value) is int):
            raise ValueError("a cursor of another order")
        return replace(self, after=(after, check_fingerprint(last)))

    def __post_init__(self) -> None:
        problems: Problems = {}
        if self.queue is not None:
            gather(problems, check_queue, self.queue)
        if self.type is not None:
            gather(problems, check_type, self.type)
        if not self.states or not set(self.states) <= set(FAILURES):
            problems["state"] = [f"must be {' or '.join(FAILURES)}"]
        if self.fingerprint is not None:
            gather(problems, check_fingerprint, self.fingerprint)
        dates = {"insertedAfter": self.inserted_after, "insertedBefore": self.inserted_before}
        gather(problems, lambda: check_aware(**dates, endedAfter=self.ended_after))
        if self.sort not in {BY_COUNT, BY_LAST}:
            problems["sort"] = [f"must be {BY_COUNT} or {BY_LAST}"]
        if not 1 <= self.limit <= MOST_GROUPS:
            problems["limit"] = [f"must be from 1 to {MOST_GROUPS}"]
        if problems:
            raise InvalidInputError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The newest job of a group."""

    id: str
    type: str
    queue: str
    state: State
    end_at: datetime | None
    error: JobError | None

    @property
    def trace_head(self) -> str | None:
        """Return the beginning of the traceback, if the error has one."""
        return cut(self.error.trace, _TRACE_HEAD) if self.error and self.error.trace is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Jobs of one type that ended in the same way.

    Attributes:
        message: the template of the message of all errors.
        place: the file and the function of the user's own code that raised the error; ``None`` if unknown.
        states: the number of jobs by state.
        first_at: the end of the first job, as far as it is known.
        queues: the queues of the jobs, or some of many.
    """

    fingerprint: str
    message: str
    place: str | None
    count: int
    states: Mapping[str, int]
    first_at: datetime | None
    last_at: datetime | None
    queues: tuple[str, ...]
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureDetails(FailureGroup):
    """A group with its newest jobs."""

    jobs: tuple[Job, ...]

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of the programs in which the newest jobs ended, the newest job first, each once."""
        ends = [next((entry for entry in reversed(job.history) if entry.token), None) for job in self.jobs]
        return tuple(dict.fromkeys(end.version for end in ends if end is not None and end.version is not None))
