"""``jobqueue list``: list jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, moments, output, values
from jobqueue.cli.render.job_text import error_text
from jobqueue.cli.render.options import command_options
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.query import AWAITED, MOST_LISTED, JobQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.search.query import Page
    from jobqueue.services.application import Runtime


@click.command(name="list", epilog=errors.epilog("list --state failed --since 2h", "list --meta user_id=42 --json"))
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
@click.option("--batch", metavar="ID", help="Jobs of this batch.")
@click.option("--parent", metavar="ID", help="Children of this job.")
@click.option("--schedule", metavar="NAME", help="Made by this schedule.")
@click.option("--waiting", type=click.Choice(AWAITED), help="Suspended jobs that wait for this.")
@click.option("--fingerprint", metavar="HEX", help="Failed and killed jobs of this group of failures.")
@click.option("--since", metavar="TIME", help="Created since then: a time ago such as 15m, 2h, 7d, or a date.")
@click.option("--limit", type=int, default=50, show_default=True, help=f"How many, at most {MOST_LISTED}.")
@click.option("--cursor", metavar="CURSOR", help="Go on where a listing before ended.")
@click.option("--oldest-first", is_flag=True, help="Oldest first instead of newest first.")
@command_options
def list_jobs(*, as_json: bool, cursor: str | None, **options: Any) -> None:
    """List jobs, newest first."""
    _query(options, None)

    async def use(runtime: Runtime) -> tuple[Page, datetime]:
        now = await runtime.database.clock.now()
        return await runtime.listing.page(_query(options, now).at(cursor)), now

    page, now = with_runtime(options, use)
    jobs = [json_form.job(job) for job in page.items]
    if as_json:
        output.print_json({"items": jobs, "next": page.next})
        return
    print_jobs(jobs, now)
    if page.next is not None:
        output.note(f"there are more: --cursor {page.next}")


def print_jobs(jobs: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Print a table of jobs as they are at this time."""
    output.print_table(["ID", "STATE", "QUEUE", "TYPE", "ATTEMPTS", "AGE", "ABOUT"], [_row(job, now) for job in jobs])


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
        inserted_after=None if since is None else values.since(since, now or values.EPOCH),
        oldest_first=options["oldest_first"],
        limit=options["limit"],
    )


def _row(job: Mapping[str, Any], now: datetime) -> list[str]:
    return [
        job["id"],
        job["state"],
        job["queue"],
        job["type"],
        f"{job['attemptsMade']}/{job['attempts']}",
        moments.ago(job["insertAt"], now),
        _about(job, now)[:200],
    ]


def _about(job: Mapping[str, Any], now: datetime) -> str:
    about, wait = "", job.get("wait") or {}
    if job["state"] == State.PROCESSING:
        about = f"{job['progress']:.0f} %"
    elif wait.get("signals"):
        about = f"waits for the signal {', '.join(wait['signals'])}"
    elif wait.get("doubt") is not None:
        about = f"in doubt: did {wait['doubt']} happen?"
    elif job["state"] == State.DELAYED and job["delayTil"] is not None:
        about = f"due in {moments.ahead(job['delayTil'], now)}"
    if job["error"] is not None and job["state"] != State.SUCCESS:
        about = f"{about} {error_text(job['error'])}".strip()
    return about
