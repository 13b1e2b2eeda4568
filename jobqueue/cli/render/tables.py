"""Tables of documents: their columns, the options that choose columns, and their print."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from jobqueue.cli.render import output
from jobqueue.cli.render.fitting import GAP, Width, fit, short_ids, total
from jobqueue.domain.unknown import hint
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from click.shell_completion import CompletionItem
    from rich.console import OverflowMethod

F = TypeVar("F", bound="Callable[..., Any]")
_EMPTY: Final = 100
_LONGEST_ANSWER: Final = 1_000
"""Characters of a cell on a terminal: about a screen."""
STYLES: Final = {
    "pending": "cyan",
    "processing": "blue",
    "delayed": "yellow",
    "success": "green",
    "failed": "red",
    "killed": "magenta",
    "silent": "red",
    "FAIL": "red",
    "warn": "yellow",
    "ok": "green",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        name: for ``--columns``.
        cell: returns the text of a row at a time.
        heading: the name in capitals by default.
        answers: it answers the question of the table: a terminal wraps it, and never cuts it or leaves it out.
        least: characters to which a terminal may cut it; ``None`` if it is never cut.
        rank: on a narrow terminal columns of a higher rank are left out first, those of rank 0 never.
        hidden: it is shown only with ``--wide`` or by ``--columns``.
        extra: it is shown only by ``--columns``.
        is_id: its cells are ids, for which a narrow terminal shows their last digits.
        is_number: its cells stand right.
    """

    name: str
    cell: Callable[[Any, datetime], str]
    heading: str = ""
    answers: bool = False
    least: int | None = None
    rank: int = 0
    hidden: bool = False
    extra: bool = False
    is_id: bool = False
    is_number: bool = False

    @property
    def title(self) -> str:
        """The heading."""
        return self.heading or self.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Columns to show.

    Attributes:
        columns: in their order.
        wide: cut nothing, and leave nothing out.
    """

    columns: Sequence[Column]
    wide: bool = False


def plain_view(*columns: Column) -> View:
    """Return the view of a table without options."""
    return View(columns=_usual(columns, wide=False))


def field(name: str, path: str | None = None, **more: Any) -> Column:
    """Return a column of a field of a document, whose name is also its path."""
    return Column(name=name, cell=lambda document, _: text_at(document, path or name), **more)


def text_at(document: Any, path: str) -> str:
    """Return the text of a field of a document; nothing where it has none."""
    value = document
    for name in path.split("."):
        # The fields of objects in a list are shown with the list.
        value = value.get(name) if isinstance(value, dict) else value if isinstance(value, list) else None
    return "" if value is None else output.compact(value)


def table_options(columns: Sequence[Column], *, prefixes: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add ``--wide`` and ``--columns``; the command gets a `View` as ``view``.

    Args:
        columns: of the table; those of fields that only ``--columns`` may name are hidden.
        prefixes: beginnings of paths that ``--columns`` also takes, such as ``meta.``.
    """
    known = {column.name: column for column in columns}
    usual = [column.name for column in columns if not column.extra]
    more = ", or any field" if len(usual) < len(known) else ""

    def chosen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[Column] | None:
        if value is None:
            return None
        return [_chosen(name.strip(), known, prefixes) for name in dict.fromkeys(value.split(","))]

    def offered(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in known if name.startswith(last)]

    def add(function: F) -> F:
        @functools.wraps(function)
        def viewing(*arguments: Any, wide: bool, columns: list[Column] | None, **options: Any) -> Any:
            if columns is not None and options.get("as_json"):
                raise click.UsageError("--columns goes with tables, and --json prints everything")
            view = View(columns=_usual(known.values(), wide=wide) if columns is None else columns, wide=wide)
            return function(*arguments, view=view, **options)

        wide = click.option("--wide", is_flag=True, help="All columns, uncut.")
        names = click.option(
            "--columns",
            metavar="NAMES",
            callback=chosen,
            shell_complete=offered,
            help=f"These columns, with commas between them: {_names(usual, prefixes)}{more}.",
        )
        return wide(names(cast("F", viewing)))

    return add


def print_items(
    items: Sequence[Any],
    view: View,
    rows: Iterable[Any] | None = None,
    *,
    as_json: bool,
    now: datetime | None = None,
    empty: str,
) -> None:
    """Print documents as JSON or as a table.

    Args:
        items: the documents.
        view: the columns.
        rows: what the cells are made of, if not the documents.
        as_json: print JSON.
        now: the time from which ages count; that of this host by default.
        empty: the note in place of a table without rows.
    """
    if as_json:
        output.print_json({"items": items})
        return
    print_rows(items if rows is None else rows, view, now=now, empty=empty)


def print_rows(rows: Iterable[Any], view: View, *, now: datetime | None = None, empty: str = "") -> None:
    """Print a table, or the note ``empty`` if it has no rows."""
    moment = now or datetime.now(UTC)
    cells = [[output.plain(column.cell(row, moment)) for column in view.columns] for row in rows]
    if not cells:
        if empty:
            output.note(empty)
        return
    if output.is_terminal(sys.stdout) and not view.wide:
        _print_terminal(cells, view.columns)
    else:
        _print_aligned(cells, view.columns)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts, whose last column takes several lines on a narrow terminal."""
    last = len(headings) - 1
    columns = [
        Column(name=heading, heading=heading, cell=_item(number), answers=number == last)
        for number, heading in enumerate(headings)
    ]
    print_rows(rows, View(columns=columns))


def _item(number: int) -> Callable[[Sequence[str], datetime], str]:
    return lambda row, _: row[number]


def _print_aligned(cells: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    """Print each row on a line, uncut."""
    lines = [[column.title for column in columns], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        parts = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        output.print_line((" " * GAP).join(parts).rstrip())


def _usual(columns: Iterable[Column], *, wide: bool) -> list[Column]:
    return [column for column in columns if not column.extra and (wide or not column.hidden)]


def _chosen(name: str, known: dict[str, Column], prefixes: tuple[str, ...]) -> Column:
    if name in known:
        # Nothing that somebody asks for by name is left out.
        return replace(known[name], rank=0)
    if name.startswith(prefixes) and name not in prefixes:
        return field(name, least=8)
    near = hint(name, known)
    names = f"{' There' if near else '; there'} are {_names(known, prefixes)}"
    raise click.BadParameter(f"there is no column {name[:100]!r}{near}{names}")


def _names(known: Iterable[str], prefixes: tuple[str, ...]) -> str:
    return ", ".join([*known, *(f"{prefix}X" for prefix in prefixes)])


def _print_terminal(cells: list[list[str]], columns: Sequence[Column]) -> None:
    from rich.cells import cell_len  # noqa: PLC0415 - as below
    from rich.console import Console  # noqa: PLC0415 - slow to import, and needed on terminals only
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    # Without colours nothing else is styled either.
    console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto", highlight=False)
    cells = [
        [output.encodable(_bounded(cell, column)) for cell, column in zip(row, columns, strict=True)] for row in cells
    ]

    def lengths() -> list[int]:
        texts = [[column.title for column in columns], *cells]
        return [max(map(cell_len, column)) for column in zip(*texts, strict=True)]

    widths = dict(enumerate(lengths()))
    if total(widths.values()) > console.width:
        cells = _with_short_ids(cells, columns)
        words = [max(cell_len(word) for row in cells for word in (row[number].split() or [""])) for number in widths]
        ranks = [_rank(column, any(row[number] for row in cells)) for number, column in enumerate(columns)]
        widths = fit(_wishes(columns, lengths(), words, ranks), console.width)
    cut: OverflowMethod = "ellipsis" if output.is_unicode() else "crop"
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for number, width in widths.items():
        column = columns[number]
        table.add_column(
            Text(column.title),
            width=width,
            no_wrap=not column.answers,
            overflow="fold" if column.answers else cut,
            justify="right" if column.is_number else "left",
        )
    for row in cells:
        table.add_row(*(Text(row[number], style=STYLES.get(row[number], "")) for number in widths))
    console.print(table, crop=False)


def _rank(column: Column, is_filled: bool) -> int:  # noqa: FBT001 - as it is computed
    """Return the rank of a column; optional ones without any text are left out before all others."""
    return column.rank if is_filled or not column.rank else column.rank + _EMPTY


def _wishes(
    columns: Sequence[Column], wholes: Sequence[int], words: Sequence[int], ranks: Sequence[int]
) -> list[Width]:
    return [
        Width(
            whole=whole,
            least=whole if column.least is None else max(column.least, len(column.title)),
            word=word,
            wraps=column.answers,
            rank=rank,
        )
        for column, whole, word, rank in zip(columns, wholes, words, ranks, strict=True)
    ]


def _with_short_ids(cells: list[list[str]], columns: Sequence[Column]) -> list[list[str]]:
    numbers = [number for number, column in enumerate(columns) if column.is_id]
    short = short_ids((row[number] for row in cells for number in numbers if is_id(row[number])), output.ellipsis())
    return [[short.get(cell, cell) if number in numbers else cell for number, cell in enumerate(row)] for row in cells]


def _bounded(cell: str, column: Column) -> str:
    return cell if not column.answers or len(cell) <= _LONGEST_ANSWER else cell[:_LONGEST_ANSWER] + output.ellipsis()
