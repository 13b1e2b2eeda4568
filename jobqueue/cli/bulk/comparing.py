"""``jobqueue failures compare``: print traits that the failed jobs of a group have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.bulk.traits import percent
from jobqueue.domain.values.checks import check_queue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api

_TRAITS: Final = tables.plain_view(
    Column(name="failed", cell=lambda trait, _: percent(trait["failed"], trait["failedOf"]), is_number=True),
    Column(name="succeeded", cell=lambda trait, _: percent(trait["succeeded"], trait["succeededOf"]), is_number=True),
    Column(name="trait", cell=lambda trait, _: trait["text"], answers=True),
    Column(
        name="alike",
        heading="THE SAME JOBS",
        cell=lambda trait, _: "; ".join(other["text"] for other in trait["alike"]),
        least=12,
        rank=1,
    ),
)


@click.command("compare", cls=Command, epilog=errors.epilog("failures compare 5b9f0c1d2e3a4f67"))
@click.argument("fingerprint", shell_complete=complete.fingerprints)
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Only jobs of this queue.")
@command_options
def compare(fingerprint: str, *, queue: str | None, as_json: bool, **options: Any) -> None:
    """Print what the jobs of a group have in common, and jobs of the same type that succeeded have not."""
    place = ("failures", check_fingerprint(fingerprint), "compare")
    query = {} if queue is None else {"queue": check_queue(queue)}

    async def use(api: Api) -> tuple[dict[str, Any], datetime]:
        return await api.get(*place, query=query), await api.now()

    found, now = with_api(options, use)
    if as_json:
        output.print_json(found)
        return
    output.print_wrapped(output.plain(found["message"]), indent=4)
    if found["traits"]:
        output.print_line()
        tables.print_rows(found["traits"], _TRAITS, now=now)
    output.print_line()
    output.print_fields(_looked(found, now))


def _looked(found: Mapping[str, Any], now: datetime) -> dict[str, str]:
    """Return what was looked at, in words."""
    steps = {"steps": _tallied(found["steps"])} if found["steps"] else {}
    numbers = f"{found['comparisons']:,} comparisons of {found['fields']:,} fields"
    if found["unread"]:
        numbers += f"; data or meta of {found['unread']:,} jobs was too large"
    if not found["isComplete"]:
        numbers += "; there was no time to read more jobs"
    samples = {name: _sample(found[name], now) for name in ("failed", "succeeded")}
    return {**steps, "attempts": _tallied(found["attemptsMade"]), **samples, "compared": numbers}


def _sample(sample: Mapping[str, Any], now: datetime) -> str:
    if not sample["count"]:
        return "0"
    first, last = (moments.ago(sample[name], now) for name in ("firstAt", "lastAt"))
    return f"{sample['count']:,}, {sample['how']}; added {first} to {last} ago"


def _tallied(tallies: list[dict[str, Any]]) -> str:
    return ", ".join(f"{tally['value']} ({tally['count']:,})" for tally in tallies)
