"""Results as text, where MongoDB cannot store the value."""

from __future__ import annotations

import io
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.text import type_name, words
from jobqueue.domain.values import payload

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONG_NUMBER: Final = 10_000
"""Bits of a whole number that Python writes in decimal digits without an error."""


def of(result: Any, why: str) -> str:
    """Return the JSON of a result, with dates in ISO 8601, NaN, and numbers of any size; ``why`` as in `checked`.

    Raises:
        InvalidInputError: a part of the result has no form in JSON, contains itself, or cannot be read.
        TooLargeError: the text is over the limit of results.
    """
    try:
        return checked(_json(result, why), why)
    except (KeyboardInterrupt, TooLargeError):
        raise
    except BaseException as error:  # noqa: BLE001 - the code of a value of other people may raise anything
        raise InvalidInputError({"result": [f"cannot be made text: {words(error)}"]}) from None


def checked(text: str, why: str | None) -> str:
    """Return a Unicode text that may be a result; ``why`` is the reason why the result became text, for the error.

    Raises:
        TooLargeError: the text is over the limit of results.
    """
    try:
        payload.check_result(text)
    except TooLargeError as error:
        raise TooLargeError(error.field, error.size, error.limit, why=why) from None
    return text


def _json(result: Any, why: str) -> str:
    text = io.StringIO()
    size = 0
    for part in _parts(result):
        size += text.write(part)
        if size > payload.MOST_RESULT:
            raise TooLargeError("result", size, payload.MOST_RESULT, why=why)
    # A lone surrogate becomes its escape, as JSON has it.
    return text.getvalue().encode("utf-8", "backslashreplace").decode()


def _parts(result: Any) -> Iterator[str]:
    """Yield the JSON part by part, because lists within each other can make any number of values."""
    containers: list[_Open] = []
    inside: set[int] = set()
    value = result
    while True:
        if isinstance(value, dict | list | tuple):
            if id(value) in inside:
                raise ValueError("it contains itself")
            inside.add(id(value))
            containers.append(_Open(value))
            yield containers[-1].opening
        else:
            yield _scalar(value)
        while containers and containers[-1].is_over():
            inside.remove(id(containers[-1].whole))
            yield containers.pop().closing
        if not containers:
            return
        yield containers[-1].lead
        value = containers[-1].value


class _Open:
    """An object or a list that is written in part.

    Attributes:
        lead: text before the next value.
        value: the next value.
    """

    __slots__ = ("_items", "_separator", "closing", "lead", "opening", "value", "whole")

    def __init__(self, whole: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> None:
        self.whole = whole
        self.lead, self._separator, self.value = "", "", None
        if isinstance(whole, dict):
            self.opening, self.closing = "{", "}"
            self._items = ((f"{_name(name)}: ", value) for name, value in whole.items())
        else:
            self.opening, self.closing = "[", "]"
            self._items = (("", value) for value in whole)

    def is_over(self) -> bool:
        """Go to the next value; return ``True`` if there is none."""
        item = next(self._items, None)
        if item is None:
            return True
        self.lead, self.value = self._separator + item[0], item[1]
        self._separator = ", "
        return False


def _name(name: object) -> str:
    if not isinstance(name, str | int | float | None):
        raise TypeError(f"a {type_name(name)} is not the name of a JSON value")
    return _scalar(name) if isinstance(name, str) else f'"{_scalar(name)}"'


def _scalar(value: object) -> str:
    match value:
        case str():
            return json.dumps(str.__str__(value), ensure_ascii=False)
        case bool() | None:
            return json.dumps(value)
        case int():
            return int.__repr__(value) if value.bit_length() < _LONG_NUMBER else int.__format__(value, "#x")
        case float():
            return json.dumps(float.__float__(value))
        case datetime():
            return json.dumps(str.__str__(value.isoformat()))
    raise TypeError(f"a {type_name(value)} is not a JSON value")
