"""What a listing of jobs asks for, and its cursor."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.checks import check_id, check_queue
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.domain.job import Job
    from jobqueue.domain.state import State

MOST_LISTED: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
META_PATH: Final = re.compile(r"[^.$\0][^.\0]*(\.[^.$\0][^.\0]*){0,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs to list, newest first unless said otherwise.

    Attributes:
        meta: pairs of a dotted path below ``meta`` and the text of a value: ``42`` finds the number and the text.
        after: where the page before ended: the date and the id of its last job.
    """

    queue: str | None = None
    type: str | None = None
    states: tuple[State, ...] = ()
    batch_id: str | None = None
    parent_id: str | None = None
    schedule: str | None = None
    meta: tuple[tuple[str, str], ...] = ()
    inserted_after: datetime | None = None
    inserted_before: datetime | None = None
    oldest_first: bool = False
    limit: int = 50
    after: tuple[datetime, str] | None = None

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_queue(self.queue)
        if self.schedule is not None:
            check_queue(self.schedule, "schedule")
        for path, value in (("batchId", self.batch_id), ("parentId", self.parent_id)):
            if value is not None:
                check_id(value, path)
        if type(self.limit) is not int or not 1 <= self.limit <= MOST_LISTED:
            raise InvalidInputError({"limit": [f"must be from 1 to {MOST_LISTED}"]})
        for path, _ in self.meta:
            if not META_PATH.fullmatch(path):
                raise InvalidInputError({f"meta.{path}": ["is not a path of names with dots between them"]})

    def cursor(self, last: Job) -> str:
        """Return the cursor for the page after the one that ends with ``last``."""
        place = [round(last.insert_at.timestamp() * 1000), last.id, self._fingerprint()]
        return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")

    def at(self, cursor: str | None) -> JobQuery:
        """Return this query continued at a cursor of the same query.

        Raises:
            InvalidInputError: it is none, or one of another query.
        """
        if cursor is None:
            return self
        wrong = InvalidInputError({"cursor": ["is not a cursor of this listing"]})
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            moment, job_id, fingerprint = json.loads(base64.urlsafe_b64decode(padded.encode()))
            place = _EPOCH + timedelta(milliseconds=moment), check_id(job_id)
        except (binascii.Error, ValueError, TypeError, OverflowError, InvalidInputError, RecursionError):
            raise wrong from None
        if fingerprint != self._fingerprint():
            raise wrong
        return replace(self, after=place)

    def _fingerprint(self) -> str:
        asked: Any = [
            self.queue,
            self.type,
            sorted(self.states),
            self.batch_id,
            self.parent_id,
            sorted(self.meta),
            str(self.inserted_after),
            str(self.inserted_before),
            self.oldest_first,
            *([] if self.schedule is None else [self.schedule]),
        ]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of jobs, and the cursor of the next one if there is more."""

    items: tuple[Job, ...]
    next: str | None
