"""Results that a webhook or a command has written as JSON, and the texts of unstorable results."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.text import cut
from jobqueue.domain.values import payload
from jobqueue.domain.work import result_text

_MOST_DIGITS: Final = 30
_LONGEST_NAME: Final = 80
_LONGEST_PROBLEM: Final = 1000
LONGEST: Final = 3 * payload.MOST_RESULT + 64 * 1024
"""Bytes of JSON; a result within its limit takes up to three times as many in ASCII."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedJson:
    """A parsed JSON value.

    Attributes:
        value: with the later one of two members of the same name.
        doubled: a name that an object in the value has twice, if any.
    """

    value: Any
    doubled: str | None = None


def read(text: bytes | str) -> ParsedJson | None:
    """Parse JSON leniently, with numbers of any size, NaN and lone surrogates; return ``None`` for other text."""
    doubled: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        merged = dict(pairs)
        if len(merged) < len(pairs) and not doubled:
            doubled.append(Counter(name for name, _ in pairs).most_common(1)[0][0])
        return merged

    try:
        plain = text if isinstance(text, str) else text.decode("utf-8-sig")
        value = json.loads(plain, parse_int=_whole, object_pairs_hook=members)
    except (ValueError, RecursionError):
        return None
    return ParsedJson(value=value, doubled=doubled[0] if doubled else None)


def storable(written: ParsedJson) -> Any:
    """Return the value of a result in its stored form.

    Raises:
        InvalidInputError: the store would change the value.
        TooLargeError: the value is over the limit of results.
    """
    if written.doubled is not None:
        name = repr(written.doubled[:_LONGEST_NAME])[1:-1]
        raise InvalidInputError({"result": [f"has the name {name} twice in one object"]})
    return payload.check_result(written.value)


def stored(text: bytes) -> tuple[Any, str | None]:
    """Return the value of a result; if it cannot be stored, its text, and the reason.

    Raises:
        TooLargeError: the result or its text is over the limit of results.
    """
    try:
        written = read(text)
        if written is None:
            raise InvalidInputError({"result": ["is not JSON"]})  # noqa: TRY301 - it is one of those below
        return storable(written), None
    except InvalidInputError as error:
        problem = cut(str(error), _LONGEST_PROBLEM)
    return as_text(text, problem), problem


def as_text(text: bytes, why: str | None) -> str:
    r"""Return text that can be stored, with bytes that are no UTF-8 as ``\xff``; `why` as in `result_text.checked`.

    Raises:
        TooLargeError: the text is over the limit of results.
    """
    return result_text.checked(text.decode("utf-8-sig", "backslashreplace").strip(), why)


def _whole(text: str) -> int:
    """Return a whole number; a number far beyond 64 bit may become another such number."""
    return int(text[:_MOST_DIGITS])
