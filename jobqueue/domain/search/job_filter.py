"""Filters of listings as keyword arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.unknown import unknown_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


class JobFilter(TypedDict, total=False):
    """The filter and the order of a listing of jobs; all conditions have to hold.

    Attributes:
        state: one state or several.
        meta: values by their dotted path below ``meta``.
        fingerprint: failed and killed jobs of this group of failures.
        text: a part of the type, the key, the error or a text in ``meta``; or a whole id.
        waiting: ``signal``, ``jobs`` or ``doubt``: suspended jobs that wait for it.
        slow: search as long as necessary, up to a hard limit.
        limit: jobs of one page, at most 200; the listing goes on with further pages.
    """

    queue: str
    type: str
    state: State | str | Iterable[State | str]
    batch_id: str
    parent_id: str
    schedule: str
    fingerprint: str
    meta: Mapping[str, Any]
    inserted_after: datetime
    inserted_before: datetime
    text: str
    waiting: str
    oldest_first: bool
    slow: bool
    limit: int


def job_query(**conditions: Unpack[JobFilter]) -> JobQuery:
    """Return the query of a filter.

    Raises:
        InvalidInputError: naming each unknown or unacceptable condition.
    """
    if unknown := unknown_names(conditions, JobFilter.__optional_keys__, noun="condition"):
        raise InvalidInputError(unknown)
    fields: dict[str, Any] = {"limit": 200, **cast("Mapping[str, Any]", conditions)}
    fields["states"] = _states(fields.pop("state", ()))
    fields["meta"] = meta_pairs(fields.get("meta"))
    return JobQuery(**fields)


def meta_pairs(meta: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return values by their path below ``meta`` as the texts of a query.

    Raises:
        InvalidInputError: a value is none that a filter can have.
    """
    if meta is not None and not hasattr(meta, "items"):
        raise InvalidInputError({"meta": ["must be values by their path"]})
    values = dict(meta or {})
    wrong = [path for path, value in values.items() if value is not None and not isinstance(value, str | int | float)]
    if wrong:
        raise InvalidInputError({f"meta.{path}": ["must be text, a number, true, false or null"] for path in wrong})
    return tuple((path, json.dumps(value)) for path, value in values.items())


def _states(value: State | str | Iterable[State | str]) -> tuple[State, ...]:
    try:
        return tuple(State(word) for word in ([value] if isinstance(value, str) else value))
    except ValueError:
        raise InvalidInputError({"state": [f"must be one or more of {', '.join(State)}"]}) from None
