"""What commands print: JSON, tables and plain lines, on stdout; notes on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLES: Final = {
    "pending": "cyan",
    "processing": "blue",
    "delayed": "yellow",
    "success": "green",
    "failed": "red",
    "killed": "magenta",
    "ok": "green",
    "FAIL": "red",
    "warn": "yellow",
}
_GAP: Final = 2
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Terminals obey these, and JSON does not have to escape them."""


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a JSON value: over several lines, or on one with ``indent=None``."""
    unicode = _encoding().lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode, indent=indent)
    print_line(text.translate(_CONTROLS))


def compact(value: Any) -> str:
    """Return a JSON value on one line, for people."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def duration(seconds: float) -> str:
    """Return a time span in its largest unit, such as ``3h``."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def print_line(text: str = "") -> None:
    """Print a line of data; what the terminal's encoding does not have is escaped."""
    click.echo(text.encode(_encoding(), "backslashreplace").decode(_encoding()))


def announce(text: str) -> None:
    """Print a line of a service that is ready; the service goes on if nobody can take the line."""
    try:
        print_line(text)
    except OSError:
        mute(sys.stdout)


def mute(stream: Any) -> None:
    """Discard all that is written to a stream, and what waits to be written."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def note(text: str) -> None:
    """Say something that is not data, on stderr."""
    click.echo(plain(text), err=True)


def plain(text: str) -> str:
    """Return text as one line that no terminal takes for commands."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: fitted to a terminal and in colour, which NO_COLOR turns off; otherwise as aligned lines.

    Args:
        headings: of the columns.
        rows: texts; the last column is the first to be cut short on a terminal.
    """
    safe = [[plain(cell) for cell in row] for row in rows]
    if safe and sys.stdout is not None and sys.stdout.isatty():
        _print_rich(headings, safe)
        return
    widths = [max(map(len, column)) for column in zip(headings, *safe, strict=True)]
    for row in (headings, *safe):
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, and needed on terminals only
    from rich.text import Text  # noqa: PLC0415 - as above

    console = Console()
    lines = [[Text(heading, style="bold") for heading in headings]]
    lines += [[Text(cell, style=_STYLES.get(cell, "")) for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)][:-1]
    # On a terminal that is too narrow for the rest the lines are wrapped: better than cutting ids.
    room = max(console.width - sum(width + _GAP for width in widths), len(headings[-1]))
    for *cells, last in lines:
        for cell, width in zip(cells, widths, strict=True):
            cell.pad_right(width - cell.cell_len + _GAP)
        last.truncate(room, overflow="ellipsis")
        console.print(Text.assemble(*cells, last), soft_wrap=True)


def _encoding() -> str:
    # A process can be started without a stdout.
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
