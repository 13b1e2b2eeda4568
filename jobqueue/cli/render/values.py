"""Read arguments: JSON, files of it, KEY=VALUE, times, and jobs."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.job import children as read_children
from jobqueue.domain.json_text import parse_json, scalar
from jobqueue.domain.search.terms import AGO, UNITS
from jobqueue.domain.values import iso8601

EPOCH: Final = datetime.fromtimestamp(0, UTC)
_WORD: Final = re.compile(r"[\w.@-]{1,40}")
_LONGEST: Final = 100 * 365 * 86_400
_FAMILY: Final = frozenset({"onComplete", "onSuccess", "onFailure"})
_FIELDS: Final = {json_form.camel(name): name for name in NewJob.__dataclass_fields__}


class JsonText(click.ParamType[Any]):
    """A JSON value, ``@FILE`` or ``-`` for stdin; with ``source=False`` a value only."""

    name = "json"

    def __init__(self, *, source: bool = True) -> None:
        self._source = source

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value, wrapped to tell ``null`` from a missing option."""
        if isinstance(value, JsonValue):
            return value
        text = read_source(value) if self._source else value
        try:
            return JsonValue(parse_json(text))
        except ValueError as error:
            hint = f"; a text has quotes of its own: '\"{text}\"'" if _WORD.fullmatch(text) else ""
            self.fail(f"is not JSON: {error}{hint}", param, ctx)


class Number(click.ParamType[Any]):
    """A whole number, or one with a fraction; kept as it is written."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """Return the number."""
        try:
            return int(value) if re.fullmatch(r"[+-]?\d{1,18}", str(value)) else float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)


class JsonValue:
    """A JSON value of an option; ``null`` is one too."""

    def __init__(self, value: Any) -> None:
        self.value = value


def read_object(text: str, field: str) -> dict[str, Any]:
    """Return the JSON object of a text, of a file (``@FILE``) or of stdin (``-``).

    Raises:
        InvalidInputError: it is none.
        click.ClickException: the file cannot be read.
    """
    try:
        document = parse_json(read_source(text))
    except ValueError as error:
        raise InvalidInputError({field: [f"is not JSON: {error}"]}) from None
    if not isinstance(document, dict):
        raise InvalidInputError({field: ["must be an object"]})
    return document


def read_source(text: str) -> str:
    """Return the text itself, that of a file (``@FILE``), or stdin (``-``).

    Raises:
        click.ClickException: the file cannot be read.
    """
    if text == "-":
        return _text(sys.stdin.buffer.read(), "stdin")
    return read_file(text[1:]) if text.startswith("@") else text


def read_file(name: str) -> str:
    """Return the text of a file.

    Raises:
        click.ClickException: it cannot be read.
    """
    try:
        return _text(Path(name).read_bytes(), name)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{name} cannot be read: {getattr(error, 'strerror', error)}") from None


def pair(text: str, option: str) -> tuple[str, str]:
    """Return the two sides of KEY=VALUE.

    Raises:
        InvalidInputError: there is no ``=``, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidInputError({option: [f"{text!r} is not KEY=VALUE"]})
    return key, value


def nested(pairs: list[tuple[str, str]], field: str = "meta") -> dict[str, Any]:
    """Return KEY=VALUE pairs as an object: ``user.id=42`` is ``{"user": {"id": 42}}``; values are JSON if they can be.

    Raises:
        InvalidInputError: a key is given as a value and as an object.
    """
    document: dict[str, Any] = {}
    for key, text in pairs:
        inner: Any = document
        *path, last = key.split(".")
        for name in path:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise InvalidInputError({f"{field}.{key}": ["is both a value and an object"]})
        if last in inner:
            raise InvalidInputError({f"{field}.{key}": ["is given twice"]})
        inner[last] = scalar(text)
    return document


def moment(text: str, field: str) -> datetime:
    """Return a date as `iso8601.moment`.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return iso8601.moment(text)
    except ValueError as error:
        raise InvalidInputError({field: [f"{text!r} {error}"]}) from None


def limit(text: str, field: str) -> datetime | float:
    """Return the limit of a start: a date as `moment`, or a number of seconds.

    Raises:
        InvalidInputError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        return moment(text, field)


def duration(text: str, field: str) -> float:
    """Return the seconds of a time span such as ``90s``, ``12h`` or ``30d``.

    Raises:
        InvalidInputError: it is none.
    """
    match = AGO.fullmatch(text)
    seconds = float(match[1]) * UNITS[match[2]] if match else 0
    if not 0 < seconds <= _LONGEST:
        raise InvalidInputError({field: ["must be a number and s, m, h, d or w, such as 30d, of at most 100 years"]})
    return seconds


def new_job(document: Any, path: str) -> NewJob:
    """Return a new job from its JSON.

    Raises:
        InvalidInputError: naming each unacceptable field below ``path``.
    """
    problems: Problems = {}
    read = _snake(document, path, problems)
    if problems:
        raise InvalidInputError(problems)
    made = read_children(read, path)
    if not isinstance(made, NewJob):
        raise InvalidInputError({path: ["must be a job"]})
    return made


def family(document: Any, path: str) -> Any:
    """Return child jobs, one or a list, from their JSON, as the fields of a `NewJob` take them.

    Raises:
        InvalidInputError: naming each unacceptable field below ``path``.
    """
    problems: Problems = {}
    read = _children(document, path, problems)
    if problems:
        raise InvalidInputError(problems)
    return read_children(read, path)


def _snake(document: Any, path: str, problems: Problems) -> Any:
    """Return a job's JSON with Python's names and dates."""
    if not isinstance(document, dict):
        problems[path] = ["must be a job"]
        return {}
    read: dict[str, Any] = {}
    for name, value in document.items():
        at = f"{path}.{name}"
        if name not in _FIELDS:
            problems[at] = ["is not a known field"]
        elif name in _FAMILY:
            read[_FIELDS[name]] = _children(value, at, problems)
        elif name in {"delayTil", "startBefore"} and isinstance(value, str):
            try:
                read[_FIELDS[name]] = moment(value, at)
            except InvalidInputError as error:
                problems.update(error.problems)
        else:
            read[_FIELDS[name]] = value
    return read


def _children(document: Any, path: str, problems: Problems) -> Any:
    if isinstance(document, list):
        return [_snake(child, f"{path}.{index}", problems) for index, child in enumerate(document)]
    return None if document is None else _snake(document, path, problems)


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(f"{name} is not text in UTF-8") from None
