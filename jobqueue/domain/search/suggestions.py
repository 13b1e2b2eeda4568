"""Suggestions for filters: the fields of jobs, and their values with their numbers, from a sample of jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import attributes
from jobqueue.domain.search.fields import is_text
from jobqueue.domain.search.query import META_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS: Final = ("state", "queue", "type", "schedule", "error.kind")
"""Fields with suggestions, besides ``meta.<path>``."""
MOST_SUGGESTED: Final = 200
LONGEST_PREFIX: Final = 200
_META: Final = "meta."


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A name of a field, or a value of one.

    Attributes:
        value: the name, or a scalar.
        count: the number of jobs of the sample that have it.
    """

    value: Any
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestionQuery:
    """A query for suggestions.

    Attributes:
        field: one of `FIELDS`, or ``meta.`` and a path; ``None`` for the names of fields.
        prefix: the beginning of a name or value, in upper or lower case.
        limit: the most suggestions.
    """

    field: str | None = None
    prefix: str = ""
    limit: int = 20

    def __post_init__(self) -> None:
        field = self.field
        is_known = field in {None, *FIELDS} or (
            field is not None and field.startswith(_META) and META_PATH.fullmatch(field.removeprefix(_META)) is not None
        )
        if not is_known or not is_text(field or ""):
            raise InvalidInputError({"field": [f"must be {', '.join(FIELDS)} or meta.<path>"]})
        if len(self.prefix) > LONGEST_PREFIX:
            raise InvalidInputError({"prefix": [f"must be at most {LONGEST_PREFIX} characters"]})
        if type(self.limit) is not int or not 1 <= self.limit <= MOST_SUGGESTED:
            raise InvalidInputError({"limit": [f"must be from 1 to {MOST_SUGGESTED}"]})


class Sample:
    """The values that some jobs have, counted.

    Attributes:
        size: the number of jobs.
        values: the number of values that are kept.
    """

    def __init__(self) -> None:
        self.size = 0
        self._counts: dict[str, Counter[tuple[type, Any]]] = {"state": Counter({(str, state): 0 for state in State})}

    @property
    def values(self) -> int:
        """The number of different values of all fields."""
        return sum(len(counts) for counts in self._counts.values())

    def add(self, fields: Mapping[str, str | None], meta: Mapping[str, Any]) -> None:
        """Count the values of a job.

        Args:
            fields: values of `FIELDS`.
            meta: of the job, with few values.
        """
        self.size += 1
        found: list[tuple[str, Any]] = [(name, value) for name, value in fields.items() if value is not None]
        found += [
            (f"{_META}{path}", value)
            for path, value in attributes.scalars(meta)
            if META_PATH.fullmatch(path) and is_text(path) and attributes.encode(path, value) is not None
        ]
        # A list may have a value twice. True is not 1 here.
        for name, value in dict.fromkeys([(name, (type(value), value)) for name, value in found]):
            self._counts.setdefault(name, Counter())[value] += 1

    def suggestions(self, query: SuggestionQuery) -> list[Suggestion]:
        """Return what a query finds, the most frequent first."""
        if query.field is None:
            found = [Suggestion(value=name, count=counts.total()) for name, counts in self._counts.items()]
        else:
            counts = self._counts.get(query.field, Counter())
            found = [Suggestion(value=value, count=count) for (_, value), count in counts.items()]
        prefix = query.prefix.casefold()
        fitting = [one for one in found if _text(one.value).casefold().startswith(prefix)]
        return sorted(fitting, key=lambda one: (-one.count, _text(one.value)))[: query.limit]


def _text(value: Any) -> str:
    """Return a value as a filter in a query string has it."""
    if isinstance(value, str):
        return value
    return "null" if value is None else str(value).lower()
