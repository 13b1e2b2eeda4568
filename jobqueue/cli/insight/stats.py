"""``jobqueue stats``: jobs by state, throughput and times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import command_options
from jobqueue.domain.access.access import EVERYTHING

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.services.insight.stats import StatsRequest

_WINDOWS: Final = ("5m", "1h", "24h", "7d")
_WATCH_SECONDS: Final = 2.0
_FIGURES: Final = ("added", "started", "succeeded", "failed", "killed")
_ATTEMPTS: Final = ("fail", "retry", "suspend", "hanging", "timeout", "crash")
_HEADINGS: Final = [*(name.upper() for name in (*_FIGURES, *_ATTEMPTS)), "WAIT 50/90/99 %", "RUN 50/90/99 %"]


@click.command(epilog=errors.epilog("stats --window 24h --queue media", "stats --watch"))
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Of this queue.")
@click.option("--type", "kind", metavar="TYPE", shell_complete=complete.types, help="Of this type.")
@click.option("--window", type=click.Choice(_WINDOWS), help="Only of this window, with each queue and type.")
@click.option("--watch", is_flag=True, help=f"Again every {_WATCH_SECONDS:g} seconds, until interrupted.")
@command_options
def stats(
    *, queue: str | None, kind: str | None, window: str | None, watch: bool, as_json: bool, **options: Any
) -> None:
    """Show jobs by state, throughput, and times of waiting and running, in the last minutes, hours and days."""

    async def use(runtime: Runtime) -> None:
        from jobqueue.services.insight.stats import StatsRequest  # noqa: PLC0415 - imports the driver, and --help must be quick

        request = StatsRequest(windows=_WINDOWS if window is None else (window,), queue=queue, type=kind)
        while True:
            await _print(runtime, request, as_json=as_json, watch=watch, detailed=window is not None)
            if not watch:
                return
            await asyncio.sleep(_WATCH_SECONDS)

    with_runtime(options, use)


async def _print(runtime: Runtime, request: StatsRequest, *, as_json: bool, watch: bool, detailed: bool) -> None:
    view = await runtime.stats.view(request, EVERYTHING)
    if as_json:
        output.print_json(view, indent=None if watch else 2)
        return
    if watch:
        click.clear()
    if "counts" in view:
        total = view["counts"]["total"]
        output.print_table([state.upper() for state in total], [[str(count) for count in total.values()]])
        output.print_line()
    rows = []
    for name, window in view["windows"].items():
        rows.append([name, "", "", *_figures(window)])
        if detailed:
            for queue in window["queues"]:
                rows.append([name, queue["queue"] or "(others)", "", *_figures(queue)])
                rows += [
                    [name, queue["queue"] or "", kind["type"] or "(others)", *_figures(kind)] for kind in queue["types"]
                ]
    output.print_table(["WINDOW", "QUEUE", "TYPE", *_HEADINGS], rows)


def _figures(stats: dict[str, Any]) -> list[str]:
    counts = [stats[name] for name in _FIGURES] + [stats["attempts"][name] for name in _ATTEMPTS]
    return [*map(str, counts), _times(stats["wait"]), _times(stats["run"])]


def _times(times: dict[str, Any]) -> str:
    return " / ".join("-" if times[name] is None else _span(times[name]) for name in ("p50", "p90", "p99"))


def _span(seconds: float) -> str:
    """Return a time with about three digits."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.3g}s" if seconds < 100 else output.duration(seconds)  # noqa: PLR2004 - three digits
