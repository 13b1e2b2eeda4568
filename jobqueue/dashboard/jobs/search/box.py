"""The query box: chips of its terms, and links that add and remove them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.frame.texts import shorten
from jobqueue.domain.search.terms import AGO, Query, Term

if TYPE_CHECKING:
    from jobqueue.dashboard.jobs.search.address import Address

_LONGEST: Final = 60
_SIGNS: Final = {"=": "", "!=": "not ", ">=": "≥ ", "<=": "≤ ", ">": "> ", "<": "< ", "~": "like "}
_UNITS: Final = {"s": "s", "m": "min", "h": "h", "d": "d", "w": "weeks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A term of the query.

    Attributes:
        field: the name of the field, or the kind of the term.
        without: the address without the term.
    """

    field: str
    text: str
    without: str
    is_wrong: bool


def chips(query: Query, address: Address) -> list[Chip]:
    """Return the chips of a query."""
    return [
        Chip(
            field=shorten(_field(term), _LONGEST),
            text=shorten(_text(term), _LONGEST),
            without=address.link(q=str(query.without(term))),
            is_wrong=bool(term.problem),
        )
        for term in query.terms
    ]


def with_term(query: Query, name: str, value: str) -> str:
    """Return the text of a query with one value of a field, in place of others of the field."""
    kept = query.without(*(term for term in query.terms if term.name == name))
    return f"{kept} {name}={value}".strip()


def wrong_parts(text: str, query: Query) -> list[dict[str, str]]:
    """Return the unacceptable terms, each with the text before and after it and the reason."""
    return [
        {
            "before": _tail(text[: term.start]),
            "term": shorten(term.raw, _LONGEST),
            "after": _head(text[term.start + len(term.raw) :]),
            "place": str(term.start + 1),
            "reason": shorten(term.problem, 300),
        }
        for term in query.terms
        if term.problem
    ]


def _field(term: Term) -> str:
    if term.name:
        return term.name
    return "filter" if term.raw.startswith("{") else "text"


def _text(term: Term) -> str:
    if not term.name:
        return term.text
    ago = AGO.fullmatch(term.value)
    if ago and term.sign in {">", ">="}:
        return f"in the last {ago[1]} {_UNITS[ago[2]]}"
    if ago and term.sign in {"<", "<="}:
        return f"more than {ago[1]} {_UNITS[ago[2]]} ago"
    return _SIGNS[term.sign] + term.value.replace(",", ", ")


def _head(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _tail(text: str) -> str:
    return text if len(text) <= _LONGEST else f"…{text[-_LONGEST:]}"
