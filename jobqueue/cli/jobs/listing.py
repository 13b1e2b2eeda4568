"""``jobqueue list``: list jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.ids import check_ids, whole_ids
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.job_columns import COLUMNS, PREFIXES, print_jobs
from jobqueue.cli.render.options import command_options
from jobqueue.client.wire.forms import query_form
from jobqueue.domain.attempts.states import State
from jobqueue.domain.search.query import AWAITED, MOST_LISTED, JobQuery
from jobqueue.domain.search.terms import moment_ago

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View


@click.command(
    cls=Command, name="list", epilog=errors.epilog("list --state failed --since 2h", "list --meta user_id=42 --json")
)
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Jobs of this queue.")
@click.option("--type", "kind", metavar="TYPE", shell_complete=complete.types, help="Jobs of this type.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in State]),
    help="In this state; repeatable.",
)
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="With this value in meta; repeatable.")
@click.option("--batch", metavar="ID", callback=check_ids, help="Jobs of this batch.")
@click.option("--parent", metavar="ID", callback=check_ids, help="Children of this job.")
@click.option("--schedule", metavar="NAME", shell_complete=complete.schedules, help="Made by this schedule.")
@click.option("--waiting", type=click.Choice(AWAITED), help="Suspended jobs that wait for this.")
@click.option(
    "--fingerprint",
    metavar="HEX",
    shell_complete=complete.fingerprints,
    help="Failed and killed jobs of this group of failures.",
)
@click.option("--since", metavar="TIME", help="Created since then: a time ago such as 15m, 2h, 7d, or a date.")
@click.option("--limit", type=int, default=50, show_default=True, help=f"How many, at most {MOST_LISTED}.")
@click.option("--cursor", metavar="CURSOR", help="Go on where a listing before ended.")
@click.option("--oldest-first", is_flag=True, help="Oldest first instead of newest first.")
@whole_ids(batch="batch", parent="job")
@tables.table_options(COLUMNS, prefixes=PREFIXES)
@command_options
def list_jobs(*, view: View, as_json: bool, cursor: str | None, **options: Any) -> None:
    """List jobs, newest first."""
    _query(options, None)

    async def use(api: Api) -> tuple[dict[str, Any], datetime, str]:
        query = _query(options, await api.now())
        page: dict[str, Any] = await api.get("jobs", query={**query_form(query), "cursor": cursor})
        others = await _others(api, query) if query.states and not page["items"] and not as_json else 0
        return page, await api.now(), _empty(query, others)

    page, now, empty = with_api(options, use)
    if as_json:
        output.print_json(page)
        return
    print_jobs(page["items"], view, now, empty=empty)
    if page["next"] is not None:
        output.note(f"there are more: --cursor {page['next']}")


def _query(options: dict[str, Any], now: datetime | None) -> JobQuery:
    """Return the query; without the time now it is only checked.

    Raises:
        InvalidInputError: naming what is not acceptable.
    """
    since = options["since"]
    return JobQuery(
        queue=options["queue"],
        type=options["kind"],
        states=tuple(State(state) for state in options["states"]),
        batch_id=options["batch"],
        parent_id=options["parent"],
        schedule=options["schedule"],
        waiting=options["waiting"],
        fingerprint=options["fingerprint"],
        meta=tuple(values.pair(text, "meta") for text in options["meta"]),
        inserted_after=None if since is None else moment_ago(since, now or values.EPOCH),
        oldest_first=options["oldest_first"],
        limit=options["limit"],
    )


async def _others(api: Api, query: JobQuery) -> int:
    """Return how many jobs there are in other states, counted up to the most of a page."""
    others = query_form(replace(query, states=(), limit=MOST_LISTED))
    return len((await api.get("jobs", query={**others, "fields": "id"}))["items"])


def _empty(query: JobQuery, others: int) -> str:
    """Return the note for an empty list."""
    if not others:
        return "no jobs match"
    states = " ".join(f"--state {state}" for state in query.states)
    count = f"{others} or more" if others == MOST_LISTED else f"{others}"
    return f"no jobs match; without {states} there {'is' if others == 1 else 'are'} {count}"
