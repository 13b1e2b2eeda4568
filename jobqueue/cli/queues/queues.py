"""``jobqueue queues``: list queues with their jobs and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import command_options

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

_STATES: Final = ("pending", "processing", "delayed", "success", "failed", "killed")


@click.command(epilog=errors.epilog())
@command_options
def queues(*, as_json: bool, **options: Any) -> None:
    """List all queues that are configured or have jobs: jobs by state, age of the oldest waiting job, and limits."""

    async def use(runtime: Runtime) -> list[dict[str, Any]]:
        return [(await runtime.queues.view(name, urls=True))[0] for name in await runtime.queues.names()]

    statuses = with_runtime(options, use)
    headings = ["QUEUE", *(state.upper() for state in _STATES), "OLDEST", "LAST HOUR", "ABOUT"]
    output.print_items(statuses, headings, [_row(queue) for queue in statuses], as_json=as_json)


def _row(queue: dict[str, Any]) -> list[str]:
    oldest = queue["oldestPendingAge"]
    return [
        queue["name"],
        *(str(queue["counts"][state]) for state in _STATES),
        "-" if oldest is None else output.duration(oldest),
        str(sum(queue["ended"]["hour"].values())),
        ", ".join(_about(queue)),
    ]


def _about(queue: dict[str, Any]) -> list[str]:
    rate = queue["rate"]
    where = f" for each {queue['limitBy']}" if queue["limitBy"] else ""
    return [
        *(["paused"] if queue["paused"] else []),
        *([f"{queue['concurrency']} at a time{where}"] if queue["concurrency"] else []),
        *([f"{rate['limit']} in {rate['per']:g} s{where}"] if rate else []),
        *(f"breaker {breaker['state']}" for breaker in queue["breakers"] if breaker["state"] != "closed"),
    ]
