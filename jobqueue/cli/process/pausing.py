"""Pause or resume one queue or schedule, or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.cli.process.api import Api

_STATES: Final = {"pause": "paused", "resume": "resumed"}


def check_choice(name: str | None, *, every: bool, kind: str) -> None:
    """Refuse a command that names nothing, or both a name and ``--all``.

    Raises:
        click.UsageError: the command does so.
    """
    if (name is None) is not every:
        raise click.UsageError(f"give either the NAME of a {kind} or --all")


def change_all(
    kind: str,
    verb: str,
    options: dict[str, Any],
    *,
    is_meant: Callable[[Mapping[str, Any]], bool],
    as_json: bool,
    body: Mapping[str, Any] | None = None,
) -> None:
    """Pause or resume all queues or schedules that are meant, and print a line for each.

    Args:
        kind: ``queues`` or ``schedules``.
        verb: ``pause`` or ``resume``.
        options: those of the command.
        is_meant: decides on the document of each.
        as_json: print the documents.
        body: of each request.
    """

    async def change(api: Api) -> list[dict[str, Any]]:
        names = [view["name"] for view in await api.items(kind) if is_meant(view)]
        return [await api.post(kind, name, verb, body=body, safe=True) for name in names]

    changed = with_api(options, change)
    if as_json:
        output.print_json({"items": changed})
        return
    for view in changed:
        output.print_line(f"{view['name']} {_STATES[verb]}")
    if not changed:
        output.note(f"there is nothing to {verb}")
