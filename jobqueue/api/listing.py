"""Listings of jobs: from the query string to what is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobqueue.domain.query import JobQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A listing of jobs: which, and which fields of each; no fields are all of them."""

    query: JobQuery
    fields: frozenset[str]


def listing(given: dict[str, Any]) -> Listing:
    """Return what is to be listed.

    Args:
        given: the query string as `queries.JobsQuery` has read it.

    Raises:
        InvalidInputError: naming each unacceptable parameter.
    """
    query = JobQuery(
        queue=given.get("queue"),
        type=given.get("type"),
        states=given["state"],
        batch_id=given.get("batch_id"),
        parent_id=given.get("parent_id"),
        schedule=given.get("schedule"),
        meta=given["meta"],
        inserted_after=given.get("inserted_after"),
        inserted_before=given.get("inserted_before"),
        oldest_first=given["sort"],
        limit=given["limit"],
    )
    return Listing(query=query.at(given["cursor"]), fields=given["fields_"])
