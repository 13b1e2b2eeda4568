"""JSON as people edit it, and what they have changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http import json_body
from jobqueue.api.http.problems import ProblemError
from jobqueue.dashboard.frame.texts import NONE, shorten
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_DIFFERENCES: Final = 40
_LONGEST: Final = 300
_MISSING: Final = object()


def written(value: Any) -> str:
    """Return a value as JSON on several lines, with exact numbers."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def read(text: str, field: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        InvalidInputError: naming the field, and the line and the column of the mistake.
    """
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidInputError({field: [f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at {place}"]}) from None
    except ValueError as error:
        raise InvalidInputError({field: [f"is not JSON: {shorten(error, 80)}"]}) from None
    except RecursionError:
        raise InvalidInputError({field: [f"is nested deeper than {json_body.DEEPEST} levels"]}) from None
    try:
        # What the API does not take in a body, such as half of a character, cannot be shown or sent.
        return json_body.parse(text.encode(errors="replace"))
    except ProblemError as error:
        raise InvalidInputError({field: [(error.problem.detail or "").removeprefix("the body ")]}) from None


def read_object(text: str, field: str) -> dict[str, Any]:
    """Return the object of a JSON text; raises as `read`, also for another value."""
    value = read(text, field)
    if not isinstance(value, dict):
        raise InvalidInputError({field: ["must be a JSON object, as {}"]})
    return value


def differences(before: Any, after: Any) -> list[tuple[str, str, str]]:
    """Return path, value before and value after of what differs, the first `MOST_DIFFERENCES`."""
    found: list[tuple[str, str, str]] = []
    for path, old, new in _differences("", before, after):
        if len(found) == MOST_DIFFERENCES:
            break
        found.append((shorten(path, 120) or "all of it", _short(old), _short(new)))
    return found


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            yield from _differences(
                f"{path}.{name}" if path else str(name), before.get(name, _MISSING), after.get(name, _MISSING)
            )
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}.{place}", old, new)
    elif type(before) is not type(after) or before != after:
        yield path, before, after


def _short(value: Any) -> str:
    return NONE if value is _MISSING else shorten(json.dumps(value, ensure_ascii=False), _LONGEST)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
