"""``jobqueue token``: make, list and revoke tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.queues.queue import person
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.access.access import ROLES
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

_CREATE = errors.epilog(
    "token create --role enqueue --queue 'media*' --name importer",
    "token create --role read --meta user_id=7 --expires 30d --json",
)


@click.group(epilog=errors.epilog())
def token() -> None:
    """Make, list and revoke tokens, with which programs and people call the HTTP API."""


@token.command(epilog=_CREATE)
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="What it may do; repeatable."
)
@click.option("--queue", "queues", multiple=True, metavar="GLOB", help="Only for these queues; repeatable.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Only for jobs with this value in meta; repeatable.")
@click.option("--expires", metavar="DURATION", help="When it ends to be valid: 90s, 15m, 12h, 30d or 52w.")
@click.option("--name", default="", help="What people call it.")
@json_option
@database_options
def create(
    roles: tuple[str, ...],
    queues: tuple[str, ...],
    meta: tuple[str, ...],
    expires: str | None,
    name: str,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a token and print it, this once: only its digest is stored.

    VALUE is JSON, or text if it is none: user_id=7 is the number.
    """
    pairs = tuple(_pair(one) for one in meta)
    seconds = None if expires is None else values.duration(expires, "expires")

    async def use(runtime: Runtime) -> dict[str, Any]:
        made, text = await runtime.access.create(
            roles=roles, queues=queues, meta=pairs, name=name, expires=seconds, by=person()
        )
        return made.wire() | {"token": text}

    shown = with_runtime(database_flags(options), use, creates=True)
    if as_json:
        output.print_json(shown)
    else:
        output.print_line(shown["token"])


@token.command(name="list", epilog=errors.epilog())
@json_option
@database_options
def list_tokens(*, as_json: bool, **options: Any) -> None:
    """List all tokens, newest first, revoked and expired ones too."""

    async def use(runtime: Runtime) -> list[dict[str, Any]]:
        return [one.wire() for one in await runtime.access.store.all()]

    found = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"items": found})
        return
    output.print_table(
        ["ID", "NAME", "ROLES", "ONLY FOR", "EXPIRES", "LAST USED", "REVOKED"], [_row(one) for one in found]
    )


@token.command(epilog=errors.epilog())
@click.argument("token_id", metavar="ID")
@json_option
@database_options
def revoke(token_id: str, *, as_json: bool, **options: Any) -> None:
    """Make a token invalid, within five seconds on every server."""

    async def use(runtime: Runtime) -> None:
        await runtime.access.revoke(token_id, by=person())

    with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"id": token_id})
    else:
        output.print_line(f"{token_id} revoked")


def _pair(text: str) -> tuple[str, Any]:
    path, equals, given = text.partition("=")
    if not equals:
        raise InvalidInputError({"meta": [f"{text!a:.80} is not KEY=VALUE"]})
    return path, values.scalar(given)


def _row(one: dict[str, Any]) -> list[str]:
    only = [*one["queues"], *(f"{path}={output.compact(value)}" for path, value in one["meta"].items())]
    return [
        one["id"],
        one["name"],
        " ".join(one["roles"]),
        " ".join(only) or "everything",
        one["expiresAt"] or "never",
        one["lastUsedAt"] or "never",
        one["revokedAt"] or "",
    ]
