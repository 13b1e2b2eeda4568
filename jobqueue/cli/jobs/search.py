"""``jobqueue search``: find jobs by a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.job_columns import COLUMNS, PREFIXES, of_field, print_jobs
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import View
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.fields import SORTS
from jobqueue.domain.search.search import MOST_FOUND, search
from jobqueue.domain.search.terms import joined, term_filter

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.cli.process.api import Api

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
    checked = body_of(terms, options, values.EPOCH)
    has_fields = bool(search(checked.pop("filter"), **checked).projection.paths)

    async def use(api: Api) -> tuple[dict[str, Any], datetime]:
        body = {name: value for name, value in body_of(terms, options, await api.now()).items() if value is not None}
        return await api.post("jobs", "search", body=body, safe=True), await api.now()

    page, now = with_api(options, use)
    if as_json:
        output.print_json(page)
        return
    items = page["items"]
    if has_fields:
        names = dict.fromkeys(["id", *options["fields"].split(",")])
        tables.print_rows(items, View(columns=[of_field(name) for name in names]), empty="no jobs match")
    else:
        print_jobs(items, view, now)
    if page["next"] is not None:
        output.note(f"there are more: --cursor {page['next']}")


def body_of(terms: tuple[str, ...], options: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the request for these terms and options.

    Raises:
        InvalidInputError: naming what is not acceptable.
    """
    parts = [term_filter(term, now) for term in terms]
    name = options["sort"].removeprefix("-")
    if name not in SORTS:
        raise InvalidInputError({"sort": [f"must be by one of {', '.join(sorted(SORTS))}, with - before it or not"]})
    return {
        "filter": joined(parts),
        "sort": {name: -1 if options["sort"].startswith("-") else 1},
        "fields": None if options["fields"] is None else options["fields"].split(","),
        "limit": options["limit"],
        "cursor": options["cursor"],
        "slow": options["slow"],
    }
