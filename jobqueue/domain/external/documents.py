"""Documents of jobs that other tools write.

An unusable value that only shapes the retries and the order of a job is replaced by the queue's default, with a note.
A value that shapes the work, its time or its consequences is never guessed: the job is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.jobs import attributes, json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.values import iso8601, payload
from jobqueue.domain.values.checks import check_flag, check_id, check_number, gather
from jobqueue.domain.workflow.batch import is_ref

if TYPE_CHECKING:
    from collections.abc import Callable

REJECTED: Final = "setAside"
"""The field with the reason why the rest of a document is kept elsewhere."""
_PLAIN: Final = ("type", "queue", "key", "delay", "delayTil", "startBefore", "dependsOn", "dependencyPolicy")
_CHILDREN: Final = ("onComplete", "onSuccess", "onFailure")
_MOST_COUNTED: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """A document as a job.

    Attributes:
        new: the job, without its data and meta; ``None`` for a refused document.
        problems: the reasons of the refusal.
        notes: unusable values that were left out.
    """

    new: NewJob | None
    problems: Problems
    notes: Problems


def read(document: Mapping[str, Any], size: int) -> ParsedDocument:
    """Read a job.

    Args:
        document: with ids as text and numbers as Python's own.
        size: bytes of data and meta together.
    """
    problems: Problems = {}
    names = [name for name in (*_PLAIN, *_CHILDREN) if document.get(name) is not None]
    fields = json_form.snake_children({name: document[name] for name in names})
    defaulted, notes = _defaulted(document)
    if "type" not in fields:
        problems["type"] = ["is required"]
    if "delay_til" in fields:
        fields.pop("delay", None)
    for name in ("delay_til", "start_before"):
        try:
            fields |= {name: moment(fields[name])} if name in fields else {}
        except ValueError as error:
            problems[json_form.camel(name)] = [str(error)]
            del fields[name]
    new = None
    try:
        new = NewJob(**({"type": "unknown"} | fields | defaulted))
    except InvalidInputError as error:
        problems |= error.problems
    except (TooLargeError, RecursionError) as error:
        problems[""] = [str(error)]
    problems |= _content(document, size) | _relatives(document)
    if isinstance(document.get(REJECTED), str):
        problems = {"": [document[REJECTED]]}
    return ParsedDocument(new=None if problems else new, problems=problems, notes=notes)


def reason(problems: Problems) -> str:
    """Return problems as one text."""
    return "; ".join(f"{path} {', '.join(messages)}".strip() for path, messages in problems.items())


def is_over(document: Mapping[str, Any]) -> bool:
    """Tell whether the job of a document has ended, so that the document stays as it is."""
    state = document.get("state")
    return type(state) is str and state in FINAL


def moment(value: Any) -> Any:
    """Return the date of a text, or another value as it is.

    Raises:
        ValueError: the text is no date, or a time without a zone.
    """
    return iso8601.moment(value) if isinstance(value, str) else value


def count(value: Any) -> int:
    """Return a number of times; 0 for any other value."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value <= _MOST_COUNTED else 0


def _defaulted(document: Mapping[str, Any]) -> tuple[dict[str, Any], Problems]:
    values: dict[str, Any] = {}
    notes: Problems = {}
    for name, check in _DEFAULTED.items():
        if document.get(name) is not None:
            values[name] = gather(notes, check, document[name])
    return json_form.snake_children({name: value for name, value in values.items() if value is not None}), notes


def _content(document: Mapping[str, Any], size: int) -> Problems:
    """Return the problems of data and meta, which may hold any value of MongoDB in the usual amount."""
    problems: Problems = {}
    for name in ("data", "meta"):
        value = document.get(name)
        if value is not None and not isinstance(value, Mapping):
            problems[name] = ["must be an object"]
        elif _depth(value) > payload.DEEPEST:
            problems[name] = [f"is nested deeper than {payload.DEEPEST} levels"]
    meta = document.get("meta")
    if isinstance(meta, Mapping) and not has_few_values(meta):
        problems["meta"] = [f"takes at most {attributes.MOST} values"]
    if size > payload.MOST_DATA:
        problems["data and meta"] = [f"take {size:,} bytes; the limit is {payload.MOST_DATA:,}"]
    return problems


def has_few_values(meta: Mapping[str, Any]) -> bool:
    """Tell whether all values of a ``meta`` can be searched by."""
    return sum(1 for _ in zip(range(attributes.MOST + 1), attributes.scalars(meta), strict=False)) <= attributes.MOST


def _relatives(document: Mapping[str, Any]) -> Problems:
    problems: Problems = {}
    for name in ("batchId", "parentId"):
        if document.get(name) is not None:
            gather(problems, check_id, document[name], name)
    if document.get("ref") is not None and not is_ref(document["ref"]):
        problems["ref"] = ["is not the name of a job within its batch"]
    return problems


def _depth(value: Any) -> int:
    """Return the depth of a value, which MongoDB keeps below 200."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


_DEFAULTED: Final[Mapping[str, Callable[[Any], Any]]] = {
    **{name: partial(check_number, name) for name in ("priority", "attempts", "lease", "timeout")},
    "backoff": backoffs.parse,
    "onSuccessDelete": partial(check_flag, path="onSuccessDelete"),
}
