"""Bytes that parts of a page may take, so that no data makes a page too large."""

from __future__ import annotations

from markupsafe import escape

PAGE: int = 60_000
"""Bytes of the largest page, before it is compressed."""


def fitting(text: str, most: int) -> str:
    """Return the beginning of a text that takes at most so many bytes in a page, where marks are escaped."""
    part = text[: max(0, most)]
    while (size := octets(part)) > most:
        part = part[: max(0, min(len(part) - 1, len(part) * most // size))]
    return part


def octets(text: str) -> int:
    """Return the bytes that a text takes in a page."""
    return len(str(escape(text)).encode(errors="replace"))


class Room:
    """Bytes that are left for a part of a page."""

    def __init__(self, left: int) -> None:
        self.left = left

    @property
    def is_used_up(self) -> bool:
        """True if there is no room for one more value."""
        return self.left <= 0

    def take(self, size: int) -> None:
        """Use bytes up, such as those of tags."""
        self.left -= size

    def text(self, text: str, most: int) -> str:
        """Return a text, cut to at most so many bytes and to what is left; a cut text ends with an ellipsis."""
        part = fitting(text, min(most, max(self.left, 0)))
        self.left -= octets(part)
        return part if part == text else f"{part}…"
