"""Print JSON, tables and plain lines on stdout, and notes on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.domain.jobs.short_ids import tail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Control characters of terminals that JSON need not escape."""


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a JSON value: over several lines, or on one with ``indent=None``."""
    text = json.dumps(value, ensure_ascii=not is_unicode(), indent=indent)
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
    click.echo(encodable(text))


def print_document(document: Any, text: str, *, as_json: bool) -> None:
    """Print a document as JSON, or a line in its place."""
    if as_json:
        print_json(document)
    else:
        print_line(text)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print each field of a document on a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print_wrapped(f"{name:<{width}}  {plain(compact(value))}", indent=width + 2)


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


def is_unicode() -> bool:
    """Tell whether stdout takes any character."""
    return _encoding().lower().replace("-", "") == "utf8"


def ellipsis() -> str:
    """Return the sign for what is cut off."""
    return "…" if is_unicode() else "..."


def shortened(text: str) -> str:
    """Return an id for a text: on a terminal its last digits, which commands take as well."""
    return f"{ellipsis()}{tail(text)}" if is_terminal(sys.stdout) else text


def encodable(text: str) -> str:
    """Return a text whose characters the encoding of stdout has; others are escaped."""
    return text.encode(_encoding(), "backslashreplace").decode(_encoding())


def print_wrapped(text: str, *, indent: int = 0) -> None:
    """Print a line, which a terminal breaks between words; further lines begin with ``indent`` blanks."""
    if not is_terminal(sys.stdout):
        print_line(text)
        return
    width = shutil.get_terminal_size().columns
    lines = textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    for line in lines or [""]:
        print_line(line)


def _encoding() -> str:
    # A process can be started without a stdout.
    return getattr(sys.stdout, "encoding", None) or "utf-8"
