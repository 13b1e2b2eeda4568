"""A search for jobs: which, in what order, which fields of them, and where a page begins."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import check_id
from jobqueue.domain.search.fields import FIELDS, SORTS, Kind
from jobqueue.domain.search.filters import EVERYTHING, Filter, compile_filter
from jobqueue.domain.search.projection import WHOLE, Projection
from jobqueue.domain.search.values import Id, Value, operand

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job

MOST_FOUND: Final = 500
"""Jobs on one page of a search."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which jobs to look for.

    Attributes:
        sort: a JSON name out of `SORTS`; jobs that have the same there are in the order of their ids.
        after: where the page before ended: what its last job has in the field it is sorted by, and its id.
        slow: look for as long as it takes, up to a hard limit.
    """

    filter: Filter = EVERYTHING
    sort: str = "insertAt"
    descending: bool = True
    projection: Projection = WHOLE
    limit: int = 50
    after: tuple[Value, str] | None = None
    slow: bool = False

    def cursor(self, last: Job) -> str:
        """Return the cursor of the page after the one that ends with this job."""
        place = [_packed(json_form.attribute(last, self.sort)), last.id, self._fingerprint()]
        return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")

    def at(self, cursor: str | None) -> Search:
        """Return this search continued at a cursor of the same one.

        Raises:
            InvalidInputError: it is none, or one of another search.
        """
        if cursor is None:
            return self
        wrong = InvalidInputError({"cursor": ["is not a cursor of this listing"]})
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            packed, job_id, fingerprint = json.loads(base64.urlsafe_b64decode(padded.encode()))
            place = self._unpacked(packed), check_id(job_id)
        except (binascii.Error, ValueError, TypeError, OverflowError, InvalidInputError, RecursionError):
            raise wrong from None
        if fingerprint != self._fingerprint():
            raise wrong
        return replace(self, after=place)

    def _unpacked(self, packed: Any) -> Value:
        kind = FIELDS[self.sort]
        if kind is Kind.DATE and (packed is not None or self.sort == "insertAt"):
            return _EPOCH + timedelta(milliseconds=packed)
        return operand(packed, kind, "cursor")

    def _fingerprint(self) -> str:
        # The tree that a filter is compiled to is made of values only, so that its text tells it from any other.
        return hashlib.sha256(repr((self.filter, self.sort, self.descending)).encode()).hexdigest()[:12]


def search(
    given: Any = None,
    *,
    sort: Any = None,
    fields: Any = None,
    limit: Any = 50,
    cursor: str | None = None,
    slow: bool = False,
) -> Search:
    """Return the search that JSON asks for.

    Args:
        given: a filter.
        sort: ``{"insertAt": -1}``.
        fields: names of fields, dotted ones too; none for all.
        limit: 1 to `MOST_FOUND`.
        cursor: of the page before.
        slow: whether to insist.

    Raises:
        InvalidInputError: naming what is not acceptable.
    """
    if type(limit) is not int or not 1 <= limit <= MOST_FOUND:
        raise InvalidInputError({"limit": [f"must be from 1 to {MOST_FOUND}"]})
    name, descending = read_sort(sort)
    return Search(
        filter=compile_filter({} if given is None else given),
        sort=name,
        descending=descending,
        projection=Projection.read(fields),
        limit=limit,
        slow=slow,
    ).at(cursor)


def read_sort(given: Any) -> tuple[str, bool]:
    """Return by which field to sort, and whether the highest come first; by default the newest jobs do.

    Raises:
        InvalidInputError: it is not one of `SORTS` with 1 or -1.
    """
    if given is None or given == {}:
        return "insertAt", True
    if not isinstance(given, dict) or len(given) != 1:
        raise InvalidInputError({"sort": ['must be an object with one field, such as {"insertAt": -1}']})
    ((name, direction),) = given.items()
    name = "id" if name == "_id" else name
    if name not in SORTS:
        raise InvalidInputError({"sort": [f"must be by one of {', '.join(sorted(SORTS))}"]})
    if isinstance(direction, bool) or direction not in (1, -1):
        raise InvalidInputError({f"sort.{name}": ["must be 1 or -1"]})
    return name, direction == -1


def _packed(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MILLISECOND
    return value.hex if isinstance(value, Id) else value
