"""Recognising Python 2 by where and why the parser gives up."""

from __future__ import annotations

from typing import Final

_BY_MESSAGE: Final = (
    ("Missing parentheses in call to 'print'", "print statement"),
    ("Missing parentheses in call to 'exec'", "exec statement"),
    ("multiple exception types must be parenthesized", "except X, name"),
)
_BY_TEXT: Final = (("`", "backticks"), ("<>", "operator <>"))


def construct(error: SyntaxError) -> str | None:
    """Return the Python 2 construct at which the parser stopped, or ``None``."""
    message, line = error.msg or "", error.text or ""
    there = line[max((error.offset or 1) - 1, 0) :]
    for beginning, name in _BY_MESSAGE:
        if message.startswith(beginning):
            return name
    for beginning, name in _BY_TEXT:
        if there.startswith(beginning):
            return name
    if there.startswith(",") and line.lstrip().startswith("raise "):
        return "raise X, value"
    return None
