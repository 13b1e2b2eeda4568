"""Erasure: the jobs of a person are chosen by values of their ``meta``, and filters lose the values they name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import ConflictError, InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.values import payload

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job

MOST_VALUES: Final = 10
"""Values that choose the jobs; each job has all of them."""
ERASED: Final = "erased"
"""Text in the place of erased texts, and the kind of the error of a step whose result is gone."""
_PREFIX: Final = "meta."
_LOGICAL: Final = frozenset({"$and", "$or", "$nor", "$not"})
_HARMLESS: Final = frozenset(
    [
        "id",
        "_id",
        "queue",
        "type",
        "state",
        "insertAt",
        "startAt",
        "endAt",
        "delayTil",
        "priority",
        "attempts",
        "attemptsMade",
        "batchId",
        "parentId",
        "schedule",
        "fingerprint",
        "error.kind",
    ]
)
"""Fields whose values in a filter tell of no person."""


def chosen(meta: Any) -> dict[str, Any]:
    """Return the filter of the jobs whose ``meta`` has certain values.

    Args:
        meta: an object; names may be nested, or have dots between them.

    Raises:
        InvalidInputError: the object is empty or too large, or a value is neither text, a number nor a truth value.
    """
    if not isinstance(meta, Mapping):
        raise InvalidInputError({"meta": ["must be an object"]})
    problems: Problems = {}
    pairs = dict(_pairs(meta, "meta", problems))
    if not problems and not pairs:
        problems["meta"] = ["is empty: name at least one value, such as user_id"]
    if len(pairs) > MOST_VALUES:
        problems["meta"] = [f"takes at most {MOST_VALUES} values"]
    if problems:
        raise InvalidInputError(problems)
    return pairs


def _pairs(value: Mapping[Any, Any], path: str, problems: Problems, depth: int = 0) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, inner in value.items():
        at = f"{path}.{name}"
        parts = str(name).split(".")
        if not all(parts) or any(part.startswith("$") or "\0" in part for part in parts):
            problems[at] = ["is no name of a value"]
        elif isinstance(inner, Mapping) and depth < payload.DEEPEST:
            found += _pairs(inner, at, problems, depth + 1)
        elif isinstance(inner, str | int | float) and inner == inner:  # noqa: PLR0124 - only NaN
            found.append((at, inner))
        else:
            problems[at] = ["must be text, a number, true or false"]
    return found


def without_values(value: Any) -> Any:
    """Return a filter with its names, and without the values that may tell of a person."""
    if isinstance(value, Mapping):
        return {
            name: inner if name in _HARMLESS else without_values(inner) if name in _LOGICAL else ERASED
            for name, inner in value.items()
        }
    return [without_values(inner) for inner in value] if isinstance(value, list | tuple) else ERASED


def text_without_values(text: Any) -> Any:
    """Return a filter, as the text of its JSON, as `without_values`; other values stay."""
    try:
        read = json.loads(text)
    except (TypeError, ValueError):
        return text
    return json.dumps(without_values(read), ensure_ascii=False)


def text_names_values(text: Any, pairs: Mapping[str, Any]) -> bool:
    """Tell whether a filter, as the text of its JSON, names one of the values, as `names_values`."""
    try:
        return names_values(json.loads(text), pairs)
    except (TypeError, ValueError):
        return False


def names_values(value: Any, pairs: Mapping[str, Any]) -> bool:
    """Tell whether a filter, or the description of a job, names one of the values at its path."""
    if isinstance(value, Mapping):
        return any(
            (str(name) in pairs and _holds(inner, pairs[str(name)]))
            or (name == "meta" and names_values({f"{_PREFIX}{path}": one for path, one in _leaves(inner)}, pairs))
            or names_values(inner, pairs)
            for name, inner in value.items()
        )
    return isinstance(value, list | tuple) and any(names_values(inner, pairs) for inner in value)


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        return []
    leaves: list[tuple[str, Any]] = []
    for name, inner in value.items():
        at = f"{path}{name}"
        leaves += _leaves(inner, f"{at}.") if isinstance(inner, Mapping) else [(at, inner)]
    return leaves


def _holds(value: Any, wanted: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(inner, wanted) for inner in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return any(_holds(inner, wanted) for inner in value)
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def refuse_erased(job: Job, verb: str) -> None:
    """Make sure that the contents of a job were not erased.

    Raises:
        ConflictError: they were.
    """
    if job.erased is not None:
        at = json_form.date(job.erased["at"])
        raise ConflictError(f"job {job.id} was erased on {at}: nothing of its contents is left, so it cannot be {verb}")
