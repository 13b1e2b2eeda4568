"""Print JSON, tables and plain lines on stdout, and notes on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

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
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Control characters of terminals that JSON need not escape."""


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
    """Print a line of data; characters that the encoding of stdout lacks are escaped."""
    click.echo(text.encode(_encoding(), "backslashreplace").decode(_encoding()))


def print_document(document: Any, text: str, *, as_json: bool) -> None:
    """Print a document as JSON, or a line in its place."""
    if as_json:
        print_json(document)
    else:
        print_line(text)


def print_items(items: Sequence[Any], headings: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool) -> None:
    """Print documents as JSON, or as a table of these rows."""
    if as_json:
        print_json({"items": items})
    else:
        print_table(headings, rows)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print each field of a document on a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print_line(f"{name:<{width}}  {plain(compact(value))}")


def announce(text: str) -> None:
    """Print the line of a service that is ready; the service goes on if stdout is closed."""
    try:
        print_line(text)
    except OSError:
        mute(sys.stdout)


def mute(stream: Any) -> None:
    """Discard all output of a stream, also what its buffer holds."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def note(text: str) -> None:
    """Print a note on stderr."""
    click.echo(plain(text), err=True)


def show_progress(line: str) -> None:
    """Print a line on stderr; a terminal shows it in place of the line before."""
    if is_terminal(sys.stderr):
        click.echo(f"\r\033[K{line}", err=True, nl=False)
    else:
        note(line)


def end_progress() -> None:
    """End the line of `show_progress` on a terminal."""
    if is_terminal(sys.stderr):
        note("")


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal; a process can be started without its streams."""
    return stream is not None and stream.isatty()


def plain(text: str) -> str:
    """Return text as one line without control characters."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: fitted to a terminal and in colour, which NO_COLOR turns off; otherwise as aligned lines.

    Args:
        headings: of the columns.
        rows: texts; a terminal cuts the last column short.
    """
    safe = [[plain(cell) for cell in row] for row in rows]
    if safe and is_terminal(sys.stdout):
        _print_rich(headings, safe)
        return
    widths = [max(map(len, column)) for column in zip(headings, *safe, strict=True)]
    for row in (headings, *safe):
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len  # noqa: PLC0415 - as below
    from rich.console import Console  # noqa: PLC0415 - slow to import, and needed on terminals only
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, *cells in zip(headings, *rows, strict=True):
        # Only the last column is cut short. On a terminal that is too narrow for the others lines wrap: ids stay whole.
        least = None if heading is headings[-1] else max(map(cell_len, (heading, *cells)))
        table.add_column(heading, min_width=least)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, ""), no_wrap=True, overflow="ellipsis") for cell in row))
    Console().print(table, crop=False)


def _encoding() -> str:
    # A process can be started without a stdout.
    return getattr(sys.stdout, "encoding", None) or "utf-8"
