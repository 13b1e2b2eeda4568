"""Ids on the command line: whole, or their first or last digits."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from jobqueue.cli.process.session import with_api
from jobqueue.domain.jobs.short_ids import MOST_NAMED, ShortId, only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.cli.process.api import Api

F = TypeVar("F", bound="Callable[..., Any]")
HELP: Final = "An ID may be cut to its first or last digits, six or more, as tables show it."


def id_argument(name: str, *, kind: str = "job", required: bool = True) -> Callable[[F], F]:
    """Add the argument ID of a job or batch; the command gets the whole id."""
    argument = click.argument(name, metavar="ID" if required else "[ID]", callback=check_ids, required=required)
    return lambda function: argument(whole_ids(**{name: kind})(function))


def ids_argument(name: str) -> Callable[[F], F]:
    """Add the argument ``[ID]...`` of jobs; the command gets whole ids."""
    argument = click.argument(name, metavar="[ID]...", nargs=-1, callback=check_ids)
    return lambda function: argument(whole_ids(**{name: "job"})(function))


def whole_ids(**kinds: str) -> Callable[[F], F]:
    """Look up the whole ids for some arguments of a command that has the flags of the database.

    Args:
        kinds: ``job`` or ``batch`` by the name of each argument.
    """

    def add(function: F) -> F:
        @functools.wraps(function)
        def looking(*arguments: Any, **options: Any) -> Any:
            texts = {(kind, text) for name, kind in kinds.items() for text in _texts(options[name])}
            known = _whole(options, sorted(texts))
            for name, kind in kinds.items():
                value = options[name]
                several = isinstance(value, tuple)
                options[name] = (
                    tuple(known[kind, text] for text in value) if several else known.get((kind, value), value)
                )
            return function(*arguments, **options)

        return cast("F", looking)

    return add


def check_ids(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Check the ids of an argument or option."""
    if not context.resilient_parsing:
        for text in _texts(value):
            ShortId.read(text)
    return value


def _texts(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _whole(options: Mapping[str, Any], texts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return whole ids by kind and text; the database is asked only if there is a short one."""
    read = {(kind, text): ShortId.read(text) for kind, text in texts}
    known = {key: short.whole for key, short in read.items() if short.whole is not None}
    missing = {key: short for key, short in read.items() if short.whole is None}
    if not missing:
        return known

    async def use(api: Api) -> dict[tuple[str, str], str]:
        found = dict(known)
        for kind, text in missing:
            query = {"id": text, "limit": MOST_NAMED + 1, "fields": "id,type,state" if kind == "job" else None}
            matches = (await api.get("jobs" if kind == "job" else "batches", query=query))["items"]
            found[kind, text] = only(kind, text, matches)
        return found

    return with_api(options, use)
