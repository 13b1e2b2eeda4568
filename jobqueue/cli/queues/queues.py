"""``jobqueue queues``: list queues with their jobs and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from jobqueue.cli.render.tables import View


def _count(state: str) -> Callable[[Mapping[str, Any], datetime], str]:
    return lambda queue, _: f"{queue['counts'][state]:,}"


def _oldest(queue: Mapping[str, Any], _: datetime) -> str:
    return "-" if queue["oldestPendingAge"] is None else output.duration(queue["oldestPendingAge"])


def _about(queue: Mapping[str, Any], _: datetime) -> str:
    rate = queue["rate"]
    where = f" for each {queue['limitBy']}" if queue["limitBy"] else ""
    texts = [
        *(["paused"] if queue["paused"] else []),
        *([f"{queue['concurrency']} at a time{where}"] if queue["concurrency"] else []),
        *([f"{rate['limit']} in {rate['per']:g} s{where}"] if rate else []),
        *(f"breaker {breaker['state']}" for breaker in queue["breakers"] if breaker["state"] != "closed"),
    ]
    return ", ".join(texts)


# The columns of ended jobs are left out first: `stats` has them.
_RANKS: Final = {"pending": 0, "processing": 0, "delayed": 1, "success": 4, "failed": 0, "killed": 3}
_HEADINGS: Final = {"processing": "RUNNING"}
_COLUMNS: Final = (
    tables.field("queue", "name", least=16),
    *(
        Column(name=state, heading=_HEADINGS.get(state, ""), cell=_count(state), rank=rank, is_number=True)
        for state, rank in _RANKS.items()
    ),
    Column(name="oldest", cell=_oldest, is_number=True),
    Column(
        name="hour",
        heading="LAST HOUR",
        cell=lambda queue, _: f"{sum(queue['ended']['hour'].values()):,}",
        rank=2,
        is_number=True,
    ),
    Column(name="about", cell=_about, answers=True),
)


@click.command(cls=Command, epilog=errors.epilog())
@tables.table_options(_COLUMNS)
@command_options
def queues(*, view: View, as_json: bool, **options: Any) -> None:
    """List all queues that are configured or have jobs: jobs by state, age of the oldest waiting job, and limits."""
    statuses = with_api(options, lambda api: api.items("queues"))
    tables.print_items(statuses, view, as_json=as_json, empty="no queue is configured or has jobs")
