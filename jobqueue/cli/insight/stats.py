"""``jobqueue stats``: jobs by state, throughput and times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View

_WINDOWS: Final = ("5m", "1h", "24h", "7d")
_WATCH_SECONDS: Final = 2.0
_FIGURES: Final = ("added", "started", "succeeded", "failed", "killed")
_ATTEMPTS: Final = {
    "fail": "failed",
    "retry": "retried",
    "suspend": "suspended",
    "hanging": "hanging",
    "timeout": "timed out",
    "crash": "crashed",
}
"""Outcomes of attempts, and their words."""
_PERCENTILES: Final = ("p50", "p90", "p99")


def _print(view: Mapping[str, Any], *, as_json: bool, watch: bool, shown: View, detailed: bool) -> None:
    if as_json:
        output.print_json(view, indent=None if watch else 2)
        return
    if watch:
        click.clear()
    if "counts" in view:
        total = view["counts"]["total"]
        counts = (Column(name=state, cell=_counted(state), is_number=True) for state in total)
        tables.print_rows([total], tables.plain_view(*counts))
        output.print_line()
    windows = view["windows"]
    if detailed:
        [window] = windows.values()
        rows = [row for queue in window["queues"] for row in _rows(queue)]
        tables.print_rows([{"queue": "(all)", "type": "", **_figures(window)}, *rows], shown)
    else:
        _print_windows({name: _figures(window) for name, window in windows.items()})


def _print_windows(windows: Mapping[str, Mapping[str, str]]) -> None:
    """Print a column for each window, so that any number of figures fits."""
    columns = [tables.field(name, f"figures.{name}", heading=f"LAST {name}", is_number=True) for name in windows]
    names = next(iter(windows.values()))
    rows = [
        {"name": _NAMES.get(name, name), "figures": {window: windows[window][name] for window in windows}}
        for name in names
    ]
    tables.print_rows(rows, tables.plain_view(tables.field("figure", "name"), *columns))


def _rows(queue: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the row of a queue, and those of its types."""
    name = queue["queue"] or "(others)"
    types = [
        {"queue": queue["queue"] or "", "type": kind["type"] or "(others)", **_figures(kind)} for kind in queue["types"]
    ]
    return [{"queue": name, "type": "", **_figures(queue)}, *types]


def _figures(stats: Mapping[str, Any]) -> dict[str, str]:
    counts = {name: f"{stats[name]:,}" for name in _FIGURES} | {
        name: f"{stats['attempts'][name]:,}" for name in _ATTEMPTS
    }
    times = {
        f"{kind}{name[1:]}": "-" if stats[kind][name] is None else _span(stats[kind][name])
        for kind in ("wait", "run")
        for name in _PERCENTILES
    }
    return counts | times


def _counted(state: str) -> Callable[[Mapping[str, int], datetime], str]:
    return lambda total, _: f"{total[state]:,}"


def _span(seconds: float) -> str:
    """Return a time with about three digits."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.3g}s" if seconds < 100 else output.duration(seconds)  # noqa: PLR2004 - three digits


_NAMES: Final = {
    **{name: f"attempts: {word}" for name, word in _ATTEMPTS.items()},
    **{f"{kind}{name[1:]}": f"{kind}, {name[1:]} % within" for kind in ("wait", "run") for name in _PERCENTILES},
}
_RANKS: Final = {"started": 8, "suspend": 7, "crash": 6, "retry": 5, "timeout": 5, "hanging": 5, "fail": 4, "added": 3}
_COLUMNS: Final = (
    tables.field("queue", least=8),
    tables.field("type", answers=True),
    *(tables.field(name, is_number=True, rank=_RANKS.get(name, 0)) for name in (*_FIGURES, *_ATTEMPTS)),
    *(
        tables.field(f"{kind}{name[1:]}", heading=f"{kind.upper()} {name[1:]} %", is_number=True, rank=rank)
        for kind in ("wait", "run")
        for name, rank in zip(_PERCENTILES, (1, 9, 2), strict=True)
    ),
)


@click.command(cls=Command, epilog=errors.epilog("stats --window 24h --queue media", "stats --watch"))
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Of this queue.")
@click.option("--type", "kind", metavar="TYPE", shell_complete=complete.types, help="Of this type.")
@click.option("--window", type=click.Choice(_WINDOWS), help="Only of this window, with each queue and type.")
@tables.table_options(_COLUMNS)
@click.option("--watch", is_flag=True, help=f"Again every {_WATCH_SECONDS:g} seconds, until interrupted.")
@command_options
def stats(
    *, view: View, queue: str | None, kind: str | None, window: str | None, watch: bool, as_json: bool, **options: Any
) -> None:
    """Show jobs by state, throughput, and times of waiting and running, in the last minutes, hours and days."""
    query = {"window": window, "queue": queue, "type": kind}

    async def use(api: Api) -> None:
        while True:
            present = await api.get("stats", query=query)
            _print(present, as_json=as_json, watch=watch, shown=view, detailed=window is not None)
            if not watch:
                return
            await asyncio.sleep(_WATCH_SECONDS)

    with_api(options, use)
