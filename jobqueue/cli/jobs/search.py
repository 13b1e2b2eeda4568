"""``jobqueue search``: find jobs by a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.job_columns import COLUMNS, PREFIXES, of_field, print_jobs
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import View
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search.fields import SORTS
from jobqueue.domain.search.search import MOST_FOUND, search
from jobqueue.domain.search.terms import joined, term_filter

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.search.query import Page
    from jobqueue.domain.search.search import Search
    from jobqueue.services.application import Runtime

_EXAMPLES: Final = (
    "search state=failed,killed meta.user_id=42",
    "search 'insertAt>=2h' 'error.message~time.?out' --fields type,data.src",
    """search '{"data.n": {"$gt": 5}}' --sort=-endAt --limit 500 --json""",
)


@click.command(cls=Command, name="search", epilog=errors.epilog(*_EXAMPLES))
@click.argument("terms", metavar="[FILTER | FIELD=VALUE ...]", nargs=-1)
@click.option("--sort", default="-insertAt", show_default=True, metavar="FIELD", help="By what; - is highest first.")
@click.option("--fields", metavar="NAMES", help="Only these fields, with commas between them, such as type,data.n.")
@click.option("--limit", type=int, default=50, show_default=True, help=f"How many, at most {MOST_FOUND}.")
@click.option("--cursor", metavar="CURSOR", help="Go on where a search before ended.")
@click.option("--slow", is_flag=True, help="Search even without a helpful index.")
@tables.table_options(COLUMNS, prefixes=PREFIXES)
@command_options
def search_jobs(*, view: View, terms: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Find jobs by a filter in MongoDB's language, or by fields: = != > >= < <= and ~ for a regular expression.

    Values are JSON if they can be, and else text. Dates may be times ago, such as 15m, 2h or 7d; states and queues
    may be several, with commas between them.
    """
    _search(terms, options, values.EPOCH)

    async def use(runtime: Runtime) -> tuple[Page, Search, datetime]:
        now = await runtime.database.clock.now()
        query = _search(terms, options, now)
        return await runtime.searches.page(query), query, now

    page, query, now = with_runtime(options, use)
    items = [query.projection.pick(json_form.job(job)) for job in page.items]
    if as_json:
        output.print_json({"items": items, "next": page.next})
        return
    if query.projection.paths:
        names = dict.fromkeys(["id", *options["fields"].split(",")])
        tables.print_rows(items, View(columns=[of_field(name) for name in names]), empty="no jobs match")
    else:
        print_jobs(items, view, now)
    if page.next is not None:
        output.note(f"there are more: --cursor {page.next}")


def _search(terms: tuple[str, ...], options: dict[str, Any], now: datetime) -> Search:
    """Return the search of these terms and options.

    Raises:
        InvalidInputError: naming what is not acceptable.
    """
    parts = [term_filter(term, now) for term in terms]
    name = options["sort"].removeprefix("-")
    if name not in SORTS:
        raise InvalidInputError({"sort": [f"must be by one of {', '.join(sorted(SORTS))}, with - before it or not"]})
    return search(
        joined(parts),
        sort={name: -1 if options["sort"].startswith("-") else 1},
        fields=None if options["fields"] is None else options["fields"].split(","),
        limit=options["limit"],
        cursor=options["cursor"],
        slow=options["slow"],
    )
