"""What is shown when a run has ended: the report as tables, and where to look further."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from jobqueue.demo.display import printable
from jobqueue.demo.stages import queue_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    Report = Mapping[str, Any]


def show(console: Console, report: Report) -> None:
    """Print the report of a run."""
    console.print(_totals(report))
    console.print(_largest(report))
    if report["failures"]:
        console.print(_failures(report))
    else:
        _say(
            console, "Nothing failed: this tree has no file that does not compile. Python's own test data has some, but"
        )
        _say(console, "not every distribution ships it.")


def pointers(
    report: Report, url: str | None, flags: Sequence[str], *, authorized: bool = False, program: str = "jobqueue"
) -> list[str]:
    """Return the commands that show more of a run.

    Args:
        report: of the run.
        url: where the HTTP API is served, if it is.
        flags: what the commands need to find the same database.
        authorized: the API asks for a token.
        program: how the command line is called here.
    """
    run, extra = report["run"], "".join(f" {shlex.quote(flag)}" for flag in flags)
    queue = queue_name(run)
    lines = [f"{program} list --queue {queue}{extra}"]
    if report["failures"]:
        sample = report["failures"][0]["samples"][0]["id"]
        lines = [
            f"{program} list --state failed --state killed --queue {queue}{extra}",
            f"{program} show {sample}{extra}",
        ]
    if url is not None:
        state = "state=failed,killed&" if report["failures"] else ""
        token = ' -H "Authorization: Bearer $JOBQUEUE_ADMIN_TOKEN"' if authorized else ""
        lines.append(f"curl{token} '{url}/v1/jobs?{state}meta.demo={run}'")
    return lines


def program_name() -> str:
    """Return how the command line is called from here: by name if that finds it, else by the path it was started by."""
    started = Path(sys.argv[0])
    if started.name != "jobqueue":
        return f"{shlex.quote(sys.executable)} -m jobqueue"
    found = shutil.which("jobqueue")
    if found is not None and Path(found).resolve() == started.resolve():
        return "jobqueue"
    path = started.resolve()
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(near))


def _totals(report: Report) -> Table:
    totals = report["totals"]
    table = _table(f"Run {report['run']}: {report['root']}", "", "")
    for name, value in (
        ("files", f"{totals['files']:,} in {report['seconds']:,.1f} s ({report['filesPerSecond']:,.0f} a second)"),
        ("analysed", f"{totals['analysed']:,}"),
        ("failed for good", f"{totals['failed']:,}"),
        ("needed more than one attempt", f"{totals['retried']:,} ({totals['attempts']:,} attempts in all)"),
        ("lines", f"{totals['lines']:,}"),
        ("functions, classes", f"{totals['functions']:,}, {totals['classes']:,}"),
        ("most complex function", _function(report["mostComplex"], "complexity", "branches")),
        ("longest function", _function(report["longest"], "lines", "lines")),
        ("deepest nesting", _deepest(report["deepest"])),
    ):
        table.add_row(name, Text(printable(value)))
    table.show_header = False
    return table


def _largest(report: Report) -> Table:
    table = _table("", "largest modules", "lines", "most imported", "files")
    table.columns[1].justify = table.columns[3].justify = "right"
    largest = [(one["file"], f"{one['lines']:,}") for one in report["largest"]]
    imported = [(one["module"], f"{one['files']:,}") for one in report["mostImported"]]
    for index in range(max(len(largest), len(imported))):
        cells = (*_at(largest, index), *_at(imported, index))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def _failures(report: Report) -> Table:
    table = _table("What failed", "kind", "state", "jobs", "for example")
    for group in report["failures"]:
        samples = Text("\n".join(printable(one["message"]) for one in group["samples"]))
        table.add_row(Text(printable(group["kind"])), group["state"], f"{group['count']:,}", samples)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(printable(title)) if title else None, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _function(found: Mapping[str, Any] | None, measure: str, unit: str) -> str:
    if found is None:
        return "none"
    return f"{found['name']} with {found[measure]:,} {unit} ({found['file']}, line {found['line']})"


def _deepest(found: Mapping[str, Any] | None) -> str:
    return f"{found['depth']} blocks ({found['file']})" if found else "none"


def _at(rows: Sequence[tuple[str, str]], index: int) -> tuple[str, str]:
    return rows[index] if index < len(rows) else ("", "")


def _say(console: Console, line: str) -> None:
    console.print(Text(printable(line)), soft_wrap=True)
