"""Queries for people: ``queue=media state=failed,killed insertAt>=7d error.message~time.?out``.

The command line and the search box of the dashboard share this language. A term is a field, a sign and a value, or a
filter as a JSON object. The search box also takes words, which are looked for as a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.json_text import parse_json, parse_json_at, scalar
from jobqueue.domain.search.fields import JOB, Kind
from jobqueue.domain.search.filters import MOST_BRANCHES, compile_filter
from jobqueue.domain.search.text import check_text
from jobqueue.domain.values import iso8601

LONGEST_QUERY: Final = 2000
"""Characters of a query."""
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])")
_TERM: Final = re.compile(r"([^=<>!~]+)(!=|>=|<=|=|>|<|~)(.*)", re.DOTALL)
_OPERATORS: Final = {"=": "$eq", "!=": "$ne", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt", "~": "$regex"}
_SEVERAL: Final = {"$eq": "$in", "$ne": "$nin"}
_LISTS: Final = ("state", "queue")
"""Fields whose values have no comma in them, so that there may be several."""
_SIGNS: Final = frozenset("=<>!~")
_QUOTES: Final = frozenset("\"'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A part of a query that is written as one text.

    Attributes:
        start: the place of the term in the query.
        text: of the term, without its quotes.
        raw: of the term, as it is written.
        name: of the field; empty for words and for filters in JSON.
        sign: between the field and its value.
        value: as it is written.
        filter: the filter of the term in MongoDB's language; ``None`` for words, and for what is unacceptable.
        problem: why the term is unacceptable.
    """

    start: int
    text: str
    raw: str
    name: str = ""
    sign: str = ""
    value: str = ""
    filter: Any = None
    problem: str = ""

    @property
    def is_word(self) -> bool:
        """True for words."""
        return self.filter is None and not self.problem


@dataclass(frozen=True, slots=True)
class Query:
    """A query: its terms, and what is unacceptable in the whole."""

    terms: tuple[Term, ...] = ()
    problem: str = ""

    @property
    def filter(self) -> dict[str, Any]:
        """The filter of all acceptable terms but the words."""
        return joined([term.filter for term in self.terms if term.filter is not None])

    @property
    def words(self) -> str:
        """The text to look for; empty for none."""
        return " ".join(term.text for term in self.terms if term.is_word)

    def without(self, *terms: Term) -> Query:
        """Return the query without some of its terms."""
        return Query(tuple(term for term in self.terms if term not in terms), self.problem)

    def __str__(self) -> str:
        return " ".join(term.raw for term in self.terms)


def joined(filters: list[Any]) -> dict[str, Any]:
    """Return a filter of several, all of which have to match."""
    whole: dict[str, Any] = {"$and": filters} if len(filters) > 1 else filters[0] if filters else {}
    return whole


def term_filter(term: str, now: datetime) -> Any:
    """Return the filter of one term of the command line.

    Raises:
        InvalidInputError: naming what is not acceptable.
    """
    if term.lstrip().startswith("{"):
        try:
            return parse_json(term)
        except ValueError as error:
            raise InvalidInputError({"filter": [f"is not JSON: {error}"]}) from None
    match = _TERM.fullmatch(term)
    if match is None:
        raise InvalidInputError({"filter": [f"{term!a:.80} is neither JSON nor FIELD=VALUE"]})
    name, sign, text = match.groups()
    _, kind = JOB.kind(name, f"filter.{name}")
    operator = _OPERATORS[sign]
    if operator == "$regex":
        return {name: {"$regex": text}}
    operand = _value(kind, text, name, now)
    if isinstance(operand, list):
        return {name: {_SEVERAL[operator]: operand} if operator in _SEVERAL else {operator: operand[0]}}
    return {name: {operator: operand}}


def read_query(text: str, now: datetime) -> Query:
    r"""Read a query as people type it; unacceptable terms are kept, with the reasons.

    Terms have spaces between them. Quotes around a value, or around words, take the spaces and signs within for what
    they are; within quotes ``\"`` stands for the quote itself.
    """
    if len(text) > LONGEST_QUERY:
        return Query(problem=f"is longer than {LONGEST_QUERY:,} characters")
    terms: list[Term] = []
    place = 0
    while (place := _past_spaces(text, place)) < len(text):
        term, place = _json_term(text, place) if text[place] == "{" else _next_term(text, place, now)
        terms.append(term)
    query = Query(tuple(terms))
    return Query(query.terms, _problem_of_all(query))


def moment_ago(text: str, now: datetime, field: str = "since") -> datetime:
    """Return a date, given as such or as a time ago: ``90s``, ``15m``, ``2h``, ``7d``, ``4w``.

    Raises:
        InvalidInputError: it is neither.
    """
    if ago := AGO.fullmatch(text):
        try:
            return now - timedelta(seconds=float(ago[1]) * UNITS[ago[2]])
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        return iso8601.moment(text)
    except ValueError as error:
        what = "is neither a time ago such as 2h nor a date" if str(error) == iso8601.NO_DATE else str(error)
        raise InvalidInputError({field: [f"{text!r} {what}"]}) from None


def _value(kind: Kind, text: str, name: str, now: datetime) -> Any:
    """Return a value of the kind of its field; both readings where the field takes a text and a JSON value."""
    if text == "null":
        return None
    if name in _LISTS and "," in text:
        return text.split(",")
    if kind is Kind.DATE:
        return json_form.date(moment_ago(text, now, name))
    if kind in {Kind.TEXT, Kind.STATE, Kind.ID, Kind.IDS}:
        return text
    read = scalar(text)
    return [read, text] if kind is Kind.ANY and isinstance(read, bool | int | float) else read


def _past_spaces(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _json_term(text: str, start: int) -> tuple[Term, int]:
    try:
        value, end = parse_json_at(text, start)
    except ValueError as error:
        return Term(start=start, text=text[start:], raw=text[start:], problem=f"is not JSON: {error}"), len(text)
    raw = text[start:end]
    return _checked(Term(start=start, text=raw, raw=raw), value), end


def _next_term(text: str, start: int, now: datetime) -> tuple[Term, int]:
    letters: list[str] = []
    quote, place = "", start
    while place < len(text) and (quote or not text[place].isspace()):
        letter = text[place]
        if quote and letter == "\\" and text[place + 1 : place + 2] == quote:
            letters.append(quote)
            place += 1
        elif letter == quote:
            quote = ""
        elif not quote and letter in _QUOTES and (place == start or text[place - 1] in _SIGNS):
            quote = letter
        else:
            letters.append(letter)
        place += 1
    whole, raw = "".join(letters), text[start:place]
    if quote:
        return Term(start=start, text=whole, raw=raw, problem=f"has no second {quote}"), place
    if raw[0] in _QUOTES or not (match := _TERM.fullmatch(whole)):
        return Term(start=start, text=whole, raw=raw), place
    name, sign, value = match.groups()
    term = Term(start=start, text=whole, raw=raw, name=name, sign=sign, value=value)
    try:
        return _checked(term, term_filter(whole, now)), place
    except InvalidInputError as error:
        return _refused(term, error), place


def _checked(term: Term, value: Any) -> Term:
    try:
        compile_filter(value)
    except InvalidInputError as error:
        return _refused(term, error)
    return replace(term, filter=value)


def _refused(term: Term, error: InvalidInputError) -> Term:
    reasons = "; ".join(dict.fromkeys(text for texts in error.problems.values() for text in texts))
    return replace(term, problem=reasons)


def _problem_of_all(query: Query) -> str:
    if sum(term.filter is not None for term in query.terms) > MOST_BRANCHES:
        return f"has more than {MOST_BRANCHES} terms"
    try:
        compile_filter(query.filter)
        if query.words:
            check_text(query.words)
    except InvalidInputError as error:
        return "; ".join(text for texts in error.problems.values() for text in texts)
    return ""
