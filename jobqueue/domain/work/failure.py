"""Jobs that did not succeed, grouped by what went wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import check_queue, check_type, gather
from jobqueue.domain.jobs.fingerprint import LENGTH
from jobqueue.domain.jobs.iso8601 import aware
from jobqueue.domain.jobs.states import State
from jobqueue.domain.text import cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.attempt import JobError

FAILURES: Final = (State.FAILED, State.KILLED)
MOST_GROUPS: Final = 200
"""Groups of one page."""
BY_COUNT: Final = "-count"
BY_LAST: Final = "-lastAt"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRACE_HEAD: Final = 2 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureQuery:
    """Which failures to group, and which page of the groups to give.

    Attributes:
        fingerprint: only this group.
        sort: `BY_COUNT` or `BY_LAST`.
        after: where the page before ended: the count, or the date, and the fingerprint of its last group.

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

    def cursor(self, last: FailureGroup) -> str:
        """Return the cursor for the page after the one that ends with ``last``."""
        value = last.count if self.sort == BY_COUNT else last.last_at and round(last.last_at.timestamp() * 1000)
        place = json.dumps([self.sort, value, last.fingerprint], separators=(",", ":"))
        return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")

    def at(self, cursor: str | None) -> FailureQuery:
        """Return this query continued at a cursor of the same order.

        Raises:
            InvalidInputError: it is none.
        """
        if cursor is None:
            return self
        wrong = InvalidInputError({"cursor": ["is not a cursor of this listing"]})
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            sort, value, last = json.loads(base64.urlsafe_b64decode(padded.encode()))
            after = value if sort == BY_COUNT or value is None else _EPOCH + timedelta(milliseconds=value)
            place = after, check_fingerprint(last)
        except (ValueError, TypeError, OverflowError, RecursionError, InvalidInputError):
            raise wrong from None
        if sort != self.sort or not (value is None or type(value) is int):
            raise wrong
        return replace(self, after=place)

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
        for name, value in (dates | {"endedAfter": self.ended_after}).items():
            if value is not None:
                gather(problems, aware, value, name)
        if self.sort not in {BY_COUNT, BY_LAST}:
            problems["sort"] = [f"must be {BY_COUNT} or {BY_LAST}"]
        if not 1 <= self.limit <= MOST_GROUPS:
            problems["limit"] = [f"must be from 1 to {MOST_GROUPS}"]
        if problems:
            raise InvalidInputError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The job of a group that was added last."""

    id: str
    type: str
    queue: str
    state: State
    end_at: datetime | None
    error: JobError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Jobs of one type that ended in the same way.

    Attributes:
        message: what their errors have in common.
        place: the file and the function of the user's own code where they came up; ``None`` if no trace tells.
        states: jobs by state.
        first_at: when the first of them ended, as far as that is known.
        queues: where they are; only some, if there are many.
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

    def wire(self) -> dict[str, Any]:
        """Return the form it is shown in."""
        sample, error = self.sample, self.sample.error
        return {
            "fingerprint": self.fingerprint,
            "type": sample.type,
            "kind": error.kind if error else None,
            "message": self.message,
            "place": self.place,
            "count": self.count,
            "states": dict(self.states),
            "firstAt": json_form.value(self.first_at),
            "lastAt": json_form.value(self.last_at),
            "queues": list(self.queues),
            "sample": {
                "id": sample.id,
                "queue": sample.queue,
                "state": sample.state.value,
                "endAt": json_form.value(sample.end_at),
                "message": error.message if error else None,
                "trace": cut(error.trace, _TRACE_HEAD) if error and error.trace is not None else None,
            },
        }


def check_fingerprint(value: Any, path: str = "fingerprint") -> str:
    """Return a fingerprint.

    Raises:
        InvalidInputError: it is none.
    """
    if isinstance(value, str) and len(value) == LENGTH and not set(value) - set("0123456789abcdef"):
        return value
    raise InvalidInputError({path: [f"must be {LENGTH} hexadecimal digits"]})
