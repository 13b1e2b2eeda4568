"""Pause or resume one queue or schedule, or all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output
from jobqueue.client.errors import ServerUnreachableError, UnauthorizedError, UnexpectedReplyError
from jobqueue.domain.errors import ChangedMeanwhileError, DatabaseError, JobQueueError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jobqueue.cli.process.api import Api

_STATES: Final = {"pause": "paused", "resume": "resumed"}
_TRIES: Final = 20
_FOR_ALL: Final = (DatabaseError, ServerUnreachableError, UnauthorizedError, UnexpectedReplyError)
"""Errors that each further one would bring, too."""


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
) -> int:
    """Pause or resume all queues or schedules that are meant, and print a line for each as soon as that is done.

    One that somebody changes meanwhile is looked at again, and those that are made meanwhile follow. An error about one
    of them is printed, and the others go on.

    Args:
        kind: ``queues`` or ``schedules``.
        verb: ``pause`` or ``resume``.
        options: those of the command.
        is_meant: decides on the document of each.
        as_json: print the documents.
        body: of each request.

    Returns:
        The exit code: of the error that ended the command, else of the first error about one of them.
    """
    changed: list[dict[str, Any]] = []
    codes: list[int] = []

    async def change(api: Api, name: str) -> None:
        try:
            view = await _change(api, kind, name, verb, body, is_meant)
        except _FOR_ALL:
            raise
        except JobQueueError as error:
            codes.append(errors.report(error))
            return
        if view is not None:
            changed.append(view)
            if not as_json:
                output.print_line(f"{name} {_STATES[verb]}")

    try:
        with_api(options, lambda api: _each(api, kind, is_meant, change))
    except JobQueueError as error:
        codes.insert(0, errors.report(error))
    if as_json:
        output.print_json({"items": changed})
    elif not changed and not codes:
        output.note(f"there is nothing to {verb}")
    return codes[0] if codes else errors.OK


async def _each(
    api: Api,
    kind: str,
    is_meant: Callable[[Mapping[str, Any]], bool],
    change: Callable[[Api, str], Awaitable[None]],
) -> None:
    """Change all that are meant, those that are made meanwhile included."""
    tried: set[str] = set()
    while names := [view["name"] for view in await api.items(kind) if view["name"] not in tried and is_meant(view)]:
        tried.update(names)
        for name in names:
            await change(api, name)


async def _change(
    api: Api,
    kind: str,
    name: str,
    verb: str,
    body: Mapping[str, Any] | None,
    is_meant: Callable[[Mapping[str, Any]], bool],
) -> dict[str, Any] | None:
    """Change one as it was seen; return it, or ``None`` if it is not meant any more."""
    reason = (body or {}).get("reason")
    for number in range(_TRIES):
        try:
            view, tag = await api.tagged(kind, name)
            if not is_meant(view):
                # Its reply may have been lost.
                is_done = number and view["paused"] is (verb == "pause") and reason in {None, view.get("pauseReason")}
                return view if is_done else None
            changed: dict[str, Any] = await api.post(kind, name, verb, body=body, safe=True, match=tag)
        except ChangedMeanwhileError:
            continue
        except NotFoundError:
            # Somebody has deleted it meanwhile.
            return None
        return changed
    raise ChangedMeanwhileError(kind.removesuffix("s"), name)
