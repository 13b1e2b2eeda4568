"""Markdown of generated parts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH: Final = 100


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def block(language: str, text: str) -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```"


def code(text: str) -> str:
    """Return code within a line; backticks in it are kept."""
    if "`" not in text:
        return f"`{text}`"
    return f"`` {text} ``"


def pretty(value: Any, indent: int = 0, before: int = 0) -> str:
    """Return JSON in which each array and object that fits a line is on one line.

    Args:
        value: the value.
        indent: the depth of the line.
        before: the length of the text before it on the line.
    """
    short = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, dict | list) or indent + before + len(short) <= _WIDTH:
        return short
    inner = indent + 2
    if isinstance(value, dict):
        parts = [
            f"{(name := json.dumps(key, ensure_ascii=False))}: {pretty(item, inner, len(name) + 2)}"
            for key, item in value.items()
        ]
    else:
        parts = [pretty(item, inner) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = f",\n{' ' * inner}".join(parts)
    return f"{opening}\n{' ' * inner}{body}\n{' ' * indent}{closing}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
