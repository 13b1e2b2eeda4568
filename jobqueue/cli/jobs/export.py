"""``jobqueue export``: write the jobs of a search as a file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.jobs.search import body_of
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.csv_rows import COLUMNS, MOST_EXPORTED, cells, line
from jobqueue.domain.search.search import MOST_FOUND, search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.cli.process.api import Api

_EXAMPLES: Final = (
    "export state=failed --format csv --fields id,type,error.message -o failed.csv",
    "export queue=media 'insertAt>=7d' -o media.jsonl",
)


@click.command(cls=Command, epilog=errors.epilog(*_EXAMPLES))
@click.argument("terms", metavar="[FILTER | FIELD=VALUE ...]", nargs=-1)
@click.option("--format", "kind", type=click.Choice(("jsonl", "csv")), default="jsonl", show_default=True)
@click.option("--sort", default="-insertAt", show_default=True, metavar="FIELD", help="By what; - is highest first.")
@click.option("--fields", metavar="NAMES", help="Only these fields, with commas between them: the columns of CSV.")
@click.option("--limit", type=int, default=MOST_EXPORTED, show_default=True, help="How many jobs at most.")
@click.option("--slow", is_flag=True, help="Search even without a helpful index.")
@click.option("--output", "-o", "target", metavar="FILE", help="Write to this file in place of stdout; - is stdout.")
@command_options
def export(*, terms: tuple[str, ...], kind: str, target: str | None, as_json: bool, **options: Any) -> None:
    """Write the jobs of a search as lines of JSON, or as CSV. TERMS are those of jobqueue search.

    A file appears once it is whole. If the limit cuts it, a note on stderr says so.
    """
    limit = options["limit"]
    if not 1 <= limit <= MOST_EXPORTED:
        raise InvalidInputError({"limit": [f"must be from 1 to {MOST_EXPORTED:,}"]})
    if kind == "csv" and options["fields"] is None:
        options["fields"] = ",".join(COLUMNS)
    options |= {"limit": min(limit, MOST_FOUND), "cursor": None}
    checked = body_of(terms, options, values.EPOCH)
    search(checked.pop("filter"), **checked)
    file = None if target in {None, "-"} else Path(str(target))
    with _opened(file) as out:
        written, is_cut = with_api(options, lambda api: _write(api, out, terms, kind, options, limit))
    if file is not None:
        told = {"file": str(file), "jobs": written, "truncated": is_cut}
        output.print_document(told, f"{written:,} jobs in {file}", as_json=as_json)
    if is_cut:
        output.note(f"the search has more than these {written:,} jobs: narrow it")


async def _write(
    api: Api, out: IO[str], terms: tuple[str, ...], kind: str, options: dict[str, Any], limit: int
) -> tuple[int, bool]:
    """Write all pages; return the number of jobs, and True if there are more."""
    names = options["fields"].split(",") if options["fields"] else []
    row = cells(names)
    if kind == "csv":
        out.write(line(names))
    body = {name: value for name, value in body_of(terms, options, await api.now()).items() if value is not None}
    left, cursor = limit, None
    while True:
        page = await api.post("jobs", "search", body=body | ({"cursor": cursor} if cursor else {}), safe=True)
        items, cursor = page["items"], page["next"]
        for job in items[:left]:
            out.write(line(row(job)) if kind == "csv" else json.dumps(job, ensure_ascii=False) + "\n")
        is_cut = len(items) > left or (len(items) == left and cursor is not None)
        left -= len(items[:left])
        if cursor is None or left <= 0:
            return limit - left, is_cut


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    """Open stdout, or a file that replaces the one at a path once the block ends without an error.

    Raises:
        click.ClickException: it cannot be written.
    """
    if path is None:
        yield _stdout()
        return
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            # A device or a pipe has to stay.
            with path.open("w", encoding="utf-8", newline="") as device:
                yield device
            return
        # A link goes on to lead to the file.
        aim = path.resolve()
        # Only its owner can read it, as jobs may have secrets.
        with tempfile.NamedTemporaryFile("w", dir=aim.parent, encoding="utf-8", newline="", delete=False) as made:
            try:
                yield made
                made.flush()
                os.replace(made.name, aim)  # noqa: PTH105 - the name is a text
            except BaseException:
                Path(made.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None


def _stdout() -> IO[str]:
    """Return stdout, which takes all characters: a file is UTF-8 whatever the locale."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if output.is_terminal(sys.stdout):
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", newline="")
    return sys.stdout
