"""Queries for listings of jobs, and their pages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.attempts.states import FAILURES
from jobqueue.domain.durations import is_64_bit
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.fields import is_text
from jobqueue.domain.search.filters import Comparison, Filter, every
from jobqueue.domain.search.search import Search
from jobqueue.domain.search.text import anywhere, check_text
from jobqueue.domain.search.values import Id
from jobqueue.domain.values.checks import check_id, check_queue
from jobqueue.domain.values.iso8601 import check_aware

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from jobqueue.domain.attempts.states import State
    from jobqueue.domain.jobs.job import Job

MOST_LISTED: Final = 200
META_PATH: Final = re.compile(r"[^.$\0][^.\0]*(\.[^.$\0][^.\0]*){0,9}")
AWAITED: Final = ("signal", "jobs", "doubt")
"""Words for what ends the wait of a suspended job, besides its time."""
_FIELDS_OF_WAITS: Final = {"signal": "wait.signals", "jobs": "wait.jobs", "doubt": "wait.doubt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """A query for jobs, newest first by default.

    Attributes:
        meta: pairs of a dotted path below ``meta`` and the text of a value: ``42`` finds the number and the text.
        text: a part of the type, the key, the error or a text in ``meta``, in upper or lower case. A whole id finds
            the job, its children and the jobs of the batch.
        fingerprint: failed and killed jobs of this group of failures.
        waiting: one of `AWAITED`: suspended jobs that wait for it.
        slow: search as long as necessary, up to a hard limit.
        after: the end of the page before: the date and the id of its last job.
        backward: the page ends at ``after``.
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
    text: str | None = None
    waiting: str | None = None
    fingerprint: str | None = None
    oldest_first: bool = False
    slow: bool = False
    limit: int = 50
    after: tuple[datetime, str] | None = None
    backward: bool = False

    def __post_init__(self) -> None:
        if self.queue is not None:
            check_queue(self.queue)
        if self.schedule is not None:
            check_queue(self.schedule, "schedule")
        for path, value in (("batchId", self.batch_id), ("parentId", self.parent_id)):
            if value is not None:
                check_id(value, path)
        _check_words(self.waiting, self.fingerprint)
        check_aware(insertedAfter=self.inserted_after, insertedBefore=self.inserted_before)
        if type(self.limit) is not int or not 1 <= self.limit <= MOST_LISTED:
            raise InvalidInputError({"limit": [f"must be from 1 to {MOST_LISTED}"]})
        if self.text is not None:
            check_text(self.text)
        check_texts({"type": self.type}, self.meta)

    @property
    def filter(self) -> Filter:
        """The compiled filter of the query."""
        parts: list[Filter] = [
            Comparison(name, "$eq", value)
            for name, value in (
                ("queue", self.queue),
                ("type", self.type),
                ("batchId", self.batch_id and Id(self.batch_id.lower())),
                ("parentId", self.parent_id and Id(self.parent_id.lower())),
                ("schedule", self.schedule),
            )
            if value is not None
        ]
        if self.waiting is not None:
            parts.append(Comparison(_FIELDS_OF_WAITS[self.waiting], "$exists", value=True))
        if self.fingerprint is not None:
            parts.append(Comparison("fingerprint", "$eq", self.fingerprint))
        # A job that was requeued is no failure any more, and only the index of failures has fingerprints.
        states = self.states or (FAILURES if self.fingerprint is not None else ())
        if states:
            parts.append(Comparison("state", "$in", tuple(state.value for state in states)))
        if self.inserted_after is not None:
            parts.append(Comparison("insertAt", "$gte", self.inserted_after))
        if self.inserted_before is not None:
            parts.append(Comparison("insertAt", "$lt", self.inserted_before))
        parts += [Comparison(f"meta.{path}", "$has", text_values(text)) for path, text in self.meta]
        if self.text is not None:
            parts.append(anywhere(self.text))
        return every(*parts)

    def search(self) -> Search:
        """Return the query as a search."""
        return Search(
            filter=self.filter,
            descending=not self.oldest_first,
            limit=self.limit,
            after=self.after,
            backward=self.backward,
            slow=self.slow,
        )

    def cursor(self, last: Job) -> str:
        """Return the cursor of the page after ``last``, the end of a page."""
        return self.search().cursor(last)

    def at(self, cursor: str | None) -> JobQuery:
        """Return this query continued at a cursor of the same query.

        Raises:
            InvalidInputError: the text is no cursor of this query.
        """
        found = self.search().at(cursor)
        after: Any = found.after
        return replace(self, after=after, backward=found.backward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of jobs, and the cursors of the next page and of the page before, if there are more jobs."""

    items: tuple[Job, ...]
    next: str | None
    previous: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The number of jobs that match.

    Attributes:
        count: at most as many as were to be counted.
        states: by state; ``None`` if there are more.
        truncated: there are more.
    """

    count: int
    states: Mapping[str, int] | None
    truncated: bool


def check_texts(texts: Mapping[str, str | None], meta: Iterable[tuple[str, str]]) -> None:
    """Check texts by the names of their parameters, and pairs of a path below ``meta`` and a text.

    Raises:
        InvalidInputError: naming what is not acceptable.
    """
    pairs = list(meta)
    every_text = {**texts, **{f"meta.{path}": value for path, value in pairs}}
    if wrong := [path for path, value in every_text.items() if isinstance(value, str) and not is_text(value)]:
        raise InvalidInputError({path: ["has a lone surrogate, which is not Unicode text"] for path in wrong})
    for path, _ in pairs:
        if not META_PATH.fullmatch(path):
            raise InvalidInputError({f"meta.{path}": ["is not a path of names with dots between them"]})


def _check_words(waiting: str | None, fingerprint: str | None) -> None:
    if waiting is not None and waiting not in AWAITED:
        raise InvalidInputError({"waiting": [f"must be one of {', '.join(AWAITED)}"]})
    if fingerprint is not None:
        check_fingerprint(fingerprint)


def text_values(text: str) -> tuple[Any, ...]:
    """Return the values that a text may stand for."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return (text,)
    if isinstance(read, str):
        return (read,)
    if isinstance(read, int) and not is_64_bit(read):
        # MongoDB has no such number, so no job has it.
        return (text,)
    return (text, read) if read is None or isinstance(read, bool | int | float) else (text,)
