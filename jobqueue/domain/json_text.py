"""JSON as text."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none; the message is one line.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_float)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_json_at(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that begins at a place of a text, and the place after its end.

    Raises:
        ValueError: there is none; the message is one line.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def scalar(text: str) -> Any:
    """Return a text's JSON value, or the text itself if it has none."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"has a number that is out of range: {text:.40}")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)
