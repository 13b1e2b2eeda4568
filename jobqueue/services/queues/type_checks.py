"""Refuse new jobs whose data fits no schema of a living worker, in queues that want that."""

from __future__ import annotations

import functools
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.text import cut, told
from jobqueue.journal import get_logger
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema.protocols import Validator

    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.work.roster import Roster, Schema, ServedType

log = get_logger(__name__)

_FRESH_SECONDS: Final = 1.0
"""Seconds for which the known workers decide."""
_MOST_KEPT: Final = 1_000
_MOST_PROBLEMS: Final = 20
_LEAST_STEPS: Final = 500
_STEPS_OF_NODE: Final = 4
"""References that a check may follow, and more for each value of the data."""
_left: Final[ContextVar[list[int]]] = ContextVar("left")
_LONGEST: Final = 200
_SLOW: Final = frozenset({"pattern", "patternProperties", "uniqueItems", "not", "if", "oneOf", "maxContains"})
"""Keywords that are left out: expressions of another engine may be unknown to Python's, or take it for ever, and
``uniqueItems`` looks at all pairs. The others say what must not fit, which a part that takes more would."""
_OTHERS: Final = frozenset({"additionalProperties", "unevaluatedProperties"})
"""Keywords about what ``patternProperties`` does not name."""
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose value has schemas by any names."""
_VALUES: Final = frozenset({"enum", "const", "default", "examples", "required", "dependentRequired"})
"""Keywords whose value is no schema."""


class TypeChecks:
    """Checks the data of new jobs.

    Args:
        roster: the types that workers serve.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._served: LruCache[tuple[str, str], tuple[float, ServedType]] = LruCache(_MOST_KEPT)

    async def check(self, config: QueueConfig, queue: str, kind: str, data: Mapping[str, Any]) -> None:
        """Make sure that a living worker takes the data of a job.

        Data passes unless every living worker for the type has published a schema, and no schema takes it: where no
        worker is alive, the job waits for one.

        Args:
            config: of the queue.
            queue: its name.
            kind: the type of the job.
            data: of the job.

        Raises:
            InvalidInputError: naming each place in the data that the newest schema does not take.
        """
        if not config.check:
            return
        served = await self._known(queue, kind)
        if served.is_open or not served.schemas:
            return
        document = json_form.value(data)
        found = [_problems(schema, document) for schema in served.schemas]
        if all(found):
            raise InvalidInputError(found[0])

    async def _known(self, queue: str, kind: str) -> ServedType:
        now = time.monotonic()
        known = self._served.get((queue, kind))
        if known is None or now - known[0] > _FRESH_SECONDS:
            known = now, await self._roster.served(queue, kind)
            self._served.keep((queue, kind), known)
        return known[1]


def _problems(schema: Schema, document: Any) -> Problems:
    """Return the places of a document that a schema does not take; one that cannot be used takes everything."""
    problems: Problems = {}
    left = _left.set([_LEAST_STEPS + _STEPS_OF_NODE * _nodes(document)])
    try:
        for error in _validator(schema).iter_errors(document):
            for path, message in _told(error):
                problems.setdefault(path, []).append(message)
            if len(problems) >= _MOST_PROBLEMS:
                break
    except Exception as error:  # noqa: BLE001 - a schema comes from a worker, and its errors have no common class
        log.warning("schema cannot be used", error=told(error))
        return {}
    finally:
        _left.reset(left)
    return problems


def _told(error: Any) -> list[tuple[str, str]]:
    """Return the places and messages of one error of `jsonschema`."""
    path = ".".join(["data", *map(str, error.absolute_path)])
    if error.validator == "required":
        return [(f"{path}.{name}", "is required") for name in error.validator_value if name not in error.instance]
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        return [(f"{path}.{name}", "is not a known argument") for name in error.instance if name not in known]
    if error.validator == "anyOf" and all(part.keys() == {"required"} for part in error.validator_value):
        return [(path, f"needs one of {', '.join(part['required'][0] for part in error.validator_value)}")]
    if error.validator == "type":
        kinds = error.validator_value
        return [(path, f"must be of type {kinds if isinstance(kinds, str) else ' or '.join(kinds)}")]
    return [(path, cut(error.message, _LONGEST))]


def _validator(schema: Schema) -> Validator:
    # Both take 0.1 s, and most queues do not check.
    from referencing import Registry  # noqa: PLC0415

    # With a registry of its own it fetches nothing.
    validator: Validator = _bounded_validator()(_quick(schema), registry=Registry())
    return validator


@functools.cache
def _bounded_validator() -> Any:
    """Return a class of validators that give up after so many references: only those make a check long.

    Each level of a recursive ``anyOf`` doubles the work, and each of its branches is looked at until one fits.
    """
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415

    def bounded(keyword: str) -> Callable[..., Iterator[Any]]:
        follow = Draft202012Validator.VALIDATORS[keyword]

        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
            left = _left.get()
            left[0] -= 1
            if left[0] < 0:
                raise _TooLongError("the check of this data would take too long")
            yield from follow(validator, value, instance, schema) or ()

        return check

    extend: Any = validators.extend
    return extend(Draft202012Validator, {word: bounded(word) for word in ("$ref", "$dynamicRef")})


class _TooLongError(Exception):
    """A check follows too many references."""


def _nodes(document: Any) -> int:
    """Return the number of values in a document."""
    count, rest = 0, [document]
    while rest:
        value = rest.pop()
        count += 1
        rest += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return count


def _quick(schema: Any) -> Any:
    """Return a schema that takes more, and is checked in a bounded time; the worker checks what was left out."""
    if isinstance(schema, list):
        return [_quick(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    left_out = _SLOW | _OTHERS if "patternProperties" in schema else _SLOW
    quick = {}
    for keyword, part in schema.items():
        if keyword in _NAMED and isinstance(part, dict):
            quick[keyword] = {name: _quick(inner) for name, inner in part.items()}
        elif keyword in _VALUES:
            quick[keyword] = part
        elif keyword not in left_out:
            quick[keyword] = _quick(part)
    if "oneOf" in schema and "anyOf" not in schema:
        quick["anyOf"] = _quick(schema["oneOf"])
    return quick
