"""Options of careful requeues of many jobs: a trial, a pace, a stop rule and a patch of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.render import values
from jobqueue.domain.bulk.rules import MOST_FAILED_AGAIN, MOST_TRIED, Pace

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES: Final = ("trial", "then", "pace", "stop_after", "data_patch", "follow")
_ALONE: Final = -1
"""The value of ``--trial`` without a number."""


def pace_option(function: Any) -> Any:
    """Add ``--pace`` and ``--stop-after``, which `rules` reads."""
    stop_after = click.option(
        "--stop-after", type=click.IntRange(1, MOST_FAILED_AGAIN), help="Stop when so many of the jobs failed again."
    )
    told = "So many unfinished at once, or as 20/m so many a minute."
    return click.option("--pace", metavar="N", help=told)(stop_after(function))


def careful_options(*, alone: bool = False) -> Callable[[Any], Any]:
    """Add the options, which `rules` reads; ``alone`` lets ``--trial`` have no number."""
    how: dict[str, Any] = {"is_flag": False, "flag_value": _ALONE} if alone else {}
    told = "Requeue so many first; without a number one, and no more." if alone else "Requeue so many first."
    trial = click.option("--trial", type=int, metavar="[N]" if alone else "N", callback=_check_trial, help=told, **how)
    then = click.option("--then", is_flag=True, help="Requeue the rest if the trial has succeeded.")
    patch = click.option("--data-patch", type=values.JsonText(), help="Merge this into their data: JSON, @FILE or -.")
    follow = click.option("--follow", is_flag=True, help="Wait until all have ended; an interrupt stops it.")
    return lambda function: patch(trial(then(pace_option(follow(function)))))


def _check_trial(_context: click.Context, _parameter: click.Parameter, value: int | None) -> int | None:
    if value in {None, _ALONE} or 1 <= (value or 0) <= MOST_TRIED:
        return value
    raise click.BadParameter(f"must be 1 to {MOST_TRIED}")


def rules(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options out of those of a command; return their part of the body of a request.

    Raises:
        click.UsageError: the options do not go together.
        InvalidInputError: the pace is not acceptable.
    """
    given = {name: options.pop(name, None) for name in _NAMES if name != "follow"}
    body = {name: given[name] for name in ("trial", "then") if given[name]}
    if given["trial"] == _ALONE:
        body["trial"] = 1 if given["then"] or given["pace"] or given["stop_after"] else True
    if given["then"] and given["trial"] is None:
        raise click.UsageError("--then goes with --trial")
    if given["pace"] is not None:
        body["pace"] = Pace.of(int(given["pace"]) if given["pace"].isdecimal() else given["pace"]).wire
    if given["stop_after"] is not None:
        body["stopAfter"] = given["stop_after"]
    if given["data_patch"] is not None:
        body["dataPatch"] = given["data_patch"].value
    return body
