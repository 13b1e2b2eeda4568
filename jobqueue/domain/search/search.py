"""Searches for jobs: their filter, their order, the fields to show, and the beginning of the page."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search import cursors
from jobqueue.domain.search.fields import FIELDS, SORTS, Kind
from jobqueue.domain.search.filters import EVERYTHING, Filter, compile_filter, every
from jobqueue.domain.search.projection import WHOLE, Projection
from jobqueue.domain.search.text import anywhere, check_text
from jobqueue.domain.search.values import Id, Value, operand
from jobqueue.domain.values.checks import check_id
from jobqueue.domain.values.iso8601 import EPOCH, MILLISECOND

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job

MOST_FOUND: Final = 500
"""Jobs on one page of a search."""
MOST_COUNTED: Final = 10_000
_BEFORE: Final = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search for jobs.

    Attributes:
        sort: a JSON name of `SORTS`; jobs with equal values are in the order of their ids.
        after: the end of the page before: the sort value and the id of its last job.
        backward: the page ends at ``after``, which is then the beginning of the page behind it.
        slow: search as long as necessary, up to a hard limit.
    """

    filter: Filter = EVERYTHING
    sort: str = "insertAt"
    descending: bool = True
    projection: Projection = WHOLE
    limit: int = 50
    after: tuple[Value, str] | None = None
    backward: bool = False
    slow: bool = False

    def cursor(self, last: Job) -> str:
        """Return the cursor of the page after ``last``, the end of a page."""
        return cursors.pack(*self._place(last))

    def cursor_before(self, first: Job) -> str:
        """Return the cursor of the page before ``first``, the beginning of a page."""
        return cursors.pack(*self._place(first), _BEFORE)

    def at(self, cursor: str | None) -> Search:
        """Return this search continued at its own cursor.

        Raises:
            InvalidInputError: the text is no cursor of this search.
        """
        return self if cursor is None else cursors.unpack(cursor, self._after)

    def _place(self, job: Job) -> tuple[Any, str, str]:
        return _packed(json_form.attribute(job, self.sort)), job.id, self._fingerprint()

    def _after(self, packed: Any, job_id: Any, fingerprint: Any, side: Any = None) -> Search:
        if fingerprint != self._fingerprint() or side not in {None, _BEFORE}:
            raise ValueError("a cursor of another search")
        kind = FIELDS[self.sort]
        is_date = kind is Kind.DATE and (packed is not None or self.sort == "insertAt")
        value = EPOCH + timedelta(milliseconds=packed) if is_date else operand(packed, kind, "cursor")
        return replace(self, after=(value, check_id(job_id)), backward=side == _BEFORE)

    def _fingerprint(self) -> str:
        # A compiled filter is made of values only, so its text differs from the text of any other.
        return hashlib.sha256(repr((self.filter, self.sort, self.descending)).encode()).hexdigest()[:12]


def search(
    query: Any = None,
    *,
    text: str | None = None,
    sort: Any = None,
    fields: Any = None,
    limit: Any = 50,
    cursor: str | None = None,
    slow: bool = False,
) -> Search:
    """Read a search from JSON.

    Args:
        query: a filter.
        text: is looked for as `text.anywhere` says.
        sort: ``{"insertAt": -1}``.
        fields: names of fields, also dotted; none for all.
        limit: 1 to `MOST_FOUND`.
        cursor: the cursor of the page before.
        slow: as in `Search`.

    Raises:
        InvalidInputError: naming each unacceptable value.
    """
    if type(limit) is not int or not 1 <= limit <= MOST_FOUND:
        raise InvalidInputError({"limit": [f"must be from 1 to {MOST_FOUND}"]})
    name, descending = read_sort(sort)
    return Search(
        filter=read_filter(query, text),
        sort=name,
        descending=descending,
        projection=Projection.read(fields),
        limit=limit,
        slow=slow,
    ).at(cursor)


def read_filter(query: Any, text: str | None) -> Filter:
    """Return the filter of a search: a filter as JSON, and a text to look for.

    Raises:
        InvalidInputError: naming each unacceptable value.
    """
    whole = compile_filter({} if query is None else query)
    return whole if text is None else every(whole, anywhere(check_text(text)))


def check_most(most: int) -> int:
    """Return the number of jobs to count at most.

    Raises:
        InvalidInputError: it is not from 1 to `MOST_COUNTED`.
    """
    if not 1 <= most <= MOST_COUNTED:
        raise InvalidInputError({"most": [f"must be from 1 to {MOST_COUNTED:,}"]})
    return most


def read_sort(sort: Any) -> tuple[str, bool]:
    """Return the field to sort by, and True for a descending order; by default, the newest jobs come first.

    Raises:
        InvalidInputError: the field is not one of `SORTS` with 1 or -1.
    """
    if sort is None or sort == {}:
        return "insertAt", True
    if not isinstance(sort, dict) or len(sort) != 1:
        raise InvalidInputError({"sort": ['must be an object with one field, such as {"insertAt": -1}']})
    ((name, direction),) = sort.items()
    name = "id" if name == "_id" else name
    if name not in SORTS:
        raise InvalidInputError({"sort": [f"must be by one of {', '.join(sorted(SORTS))}"]})
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidInputError({f"sort.{name}": ["must be 1 or -1"]})
    return name, direction == -1


def _packed(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - EPOCH) // MILLISECOND
    return value.hex if isinstance(value, Id) else value
