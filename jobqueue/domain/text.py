"""Text of bounded size in UTF-8."""

from __future__ import annotations

from typing import Final

_MARK: Final = " … (cut short)"


def clean(text: str) -> str:
    """Return the text as valid Unicode: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def cut(text: str, most: int) -> str:
    """Return the text, or its beginning and a mark, in at most ``most`` bytes."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most:
        return encoded.decode()
    return encoded[: most - len(_MARK.encode())].decode("utf-8", "ignore") + _MARK


def split(text: str, most: int) -> list[str]:
    """Return the text in parts of at most ``most`` bytes; together they are the text."""
    encoded = text.encode("utf-8", "replace")
    parts = []
    while len(encoded) > most:
        end = most
        while encoded[end] & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            end -= 1
        parts.append(encoded[:end].decode())
        encoded = encoded[end:]
    return [*parts, encoded.decode()]
