"""Read the decision in the body of a webhook's reply, as far as the body can be read."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.text import told
from jobqueue.domain.values.checks import check_number

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_DECODER: Final = json.JSONDecoder(strict=False)
_TOO_DEEP: Final = (ValueError, RecursionError)


def leading(body: bytes) -> dict[str, Any]:
    """Return the members of a JSON object up to the first unreadable one.

    The object may be cut short, and may hold text that is not Unicode or raw control characters. A text that is cut
    short counts as it is.
    """
    text = body.decode("utf-8-sig", "replace")
    return {name: value for name, value, _ in _members(text)}


def member(body: bytes, name: str) -> str | None:
    """Return the JSON text of a member of an object, as its sender wrote it; the last of several."""
    text = body.decode("utf-8-sig", "replace")
    value: str | None = None
    for member_name, _, part in _members(text):
        if member_name == name:
            value = text[part]
    return value


def _members(text: str) -> Iterator[tuple[str, Any, slice]]:
    """Yield names, values and places of the members that `leading` returns."""
    at, opening = _skip(text, 0), "{"
    while text.startswith(opening, at):
        try:
            name, at = _DECODER.raw_decode(text, _skip(text, at + 1))
            at = _skip(text, at)
            if not isinstance(name, str) or not text.startswith(":", at):
                break
            begin = _skip(text, at + 1)
            value, end = _value(text, begin)
        except _TOO_DEEP:
            break
        at, opening = _skip(text, end), ","
        if at < len(text) or isinstance(value, str):
            yield name, value, slice(begin, end)


def reason(value: Any) -> str | None:
    """Return a reason of any JSON type as text; ``None`` for an empty reason."""
    if value is None or isinstance(value, str):
        return value or None
    try:
        return json.dumps(value, ensure_ascii=False)
    except _TOO_DEEP:
        return told(value)


def delay(value: Any) -> float | None:
    """Return a delay in seconds, also from text such as ``"60"``.

    Raises:
        InvalidInputError: the delay is no number, or too long.
    """
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if value is not None:
        check_number("delay", value)
    seconds: float | None = value
    return seconds


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string") and text.startswith('"', at):
            return text[at + 1 :], len(text)
        raise


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at
