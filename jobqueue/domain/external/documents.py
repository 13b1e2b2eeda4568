"""Jobs that another tool has put into the database: what their documents say, as far as it can be understood.

A value that only shapes how a job is retried and ordered is replaced by the queue's default, with a note. Whatever says
what is to be done, when, or what follows is never guessed: then the job is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.jobs import attributes, iso8601, json_form, payload
from jobqueue.domain.jobs import backoff as backoffs
from jobqueue.domain.jobs.checks import check_flag, check_id, check_number
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.states import FINAL
from jobqueue.domain.workflow.batch import is_ref

if TYPE_CHECKING:
    from collections.abc import Callable

REJECTED: Final = "setAside"
"""The field that says why the rest of a document is kept elsewhere."""
_PLAIN: Final = ("type", "queue", "key", "delay", "delayTil", "dependsOn", "dependencyPolicy")
_CHILDREN: Final = ("onComplete", "onSuccess", "onFailure")
_CONTENT: Final = ("data", "meta")
_MOST_COUNTED: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """What a document says.

    Attributes:
        new: the job, without its data and meta; ``None`` if it cannot be understood.
        problems: why it cannot.
        notes: values that are of no use, and have been left out.
    """

    new: NewJob | None
    problems: Problems
    notes: Problems


def read(given: Mapping[str, Any], size: int) -> ParsedDocument:
    """Read a job.

    Args:
        given: the fields of its document: ids as text, numbers as Python's own.
        size: bytes that its data and meta take together.
    """
    problems: Problems = {}
    fields = {_snake(name): given[name] for name in _PLAIN if given.get(name) is not None}
    for name in _CHILDREN:
        if given.get(name) is not None:
            fields[_snake(name)] = _children(given[name])
    defaulted, notes = _defaulted(given)
    if "type" not in fields:
        problems["type"] = ["is required"]
    if "delay_til" in fields:
        fields.pop("delay", None)
        try:
            fields["delay_til"] = moment(fields["delay_til"])
        except ValueError as error:
            problems["delayTil"] = [str(error)]
            del fields["delay_til"]
    new = None
    try:
        new = NewJob(**({"type": "unknown"} | fields | defaulted))
    except InvalidInputError as error:
        problems |= error.problems
    except (TooLargeError, RecursionError) as error:
        problems[""] = [str(error)]
    problems |= _content(given, size) | _relatives(given)
    if isinstance(given.get(REJECTED), str):
        problems = {"": [given[REJECTED]]}
    return ParsedDocument(new=None if problems else new, problems=problems, notes=notes)


def reason(problems: Problems) -> str:
    """Return problems as one text."""
    return "; ".join(f"{path} {', '.join(found)}".strip() for path, found in problems.items())


def is_over(given: Mapping[str, Any]) -> bool:
    """Tell whether a document is that of a job that has ended: it is kept as it is."""
    found = given.get("state")
    return isinstance(found, str) and found in FINAL


def moment(value: Any) -> Any:
    """Return a date that was written as text as such, and everything else but text as it is.

    Raises:
        ValueError: the text is no date, or a time without a zone.
    """
    return iso8601.moment(value) if isinstance(value, str) else value


def count(value: Any) -> int:
    """Return a number of times, none if it is no such number."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value <= _MOST_COUNTED else 0


def _defaulted(given: Mapping[str, Any]) -> tuple[dict[str, Any], Problems]:
    fields: dict[str, Any] = {}
    notes: Problems = {}
    for name, check in _DEFAULTED.items():
        value = given.get(name)
        if value is None:
            continue
        try:
            fields[_snake(name)] = check(value)
        except InvalidInputError as error:
            notes |= error.problems
    return fields, notes


def _content(given: Mapping[str, Any], size: int) -> Problems:
    """Say what is wrong with data and meta: any value that MongoDB has is right in them, in the usual amount."""
    problems: Problems = {}
    for name in _CONTENT:
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            problems[name] = ["must be an object"]
        elif _depth(value) > payload.DEEPEST:
            problems[name] = [f"is nested deeper than {payload.DEEPEST} levels"]
    meta = given.get("meta")
    if isinstance(meta, Mapping) and not has_few_values(meta):
        problems["meta"] = [f"takes at most {attributes.MOST} values"]
    if size > payload.MOST_DATA:
        problems["data and meta"] = [f"take {size:,} bytes; the limit is {payload.MOST_DATA:,}"]
    return problems


def has_few_values(meta: Mapping[str, Any]) -> bool:
    """Tell whether a ``meta`` has no more values than can be searched by."""
    return sum(1 for _ in zip(range(attributes.MOST + 1), attributes.scalars(meta), strict=False)) <= attributes.MOST


def _relatives(given: Mapping[str, Any]) -> Problems:
    problems: Problems = {}
    for name in ("batchId", "parentId"):
        if given.get(name) is not None:
            try:
                check_id(given[name], name)
            except InvalidInputError as error:
                problems |= error.problems
    if given.get("ref") is not None and not is_ref(given["ref"]):
        problems["ref"] = ["is not the name of a job within its batch"]
    return problems


def _depth(value: Any) -> int:
    """Return how deep a value is nested, which MongoDB keeps below 200."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _children(given: Any) -> Any:
    if isinstance(given, list):
        return [_children(one) for one in given]
    return json_form.snake_children(given) if isinstance(given, dict) else given


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _number(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        check_number(name, value)
        return value

    return check


_DEFAULTED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "priority": _number("priority"),
    "attempts": _number("attempts"),
    "lease": _number("lease"),
    "timeout": _number("timeout"),
    "backoff": backoffs.parse,
    "onSuccessDelete": lambda value: check_flag(value, "onSuccessDelete"),
}
