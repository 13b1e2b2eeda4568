"""``jobqueue token``: make, list and revoke tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.domain.access.access import ROLES
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.json_text import scalar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.render.tables import View

_CREATE = errors.epilog(
    "token create --role enqueue --queue 'media*' --name importer",
    "token create --role read --meta user_id=7 --expires 30d --json",
)


def _scopes(token: Mapping[str, Any], _: datetime) -> str:
    scopes = [*token["queues"], *(f"{path}={output.compact(value)}" for path, value in token["meta"].items())]
    return " ".join(scopes) or "everything"


_COLUMNS: Final = (
    tables.field("id"),
    tables.field("name", least=8),
    Column(name="roles", cell=lambda token, _: " ".join(token["roles"]), answers=True),
    Column(name="scope", heading="ONLY FOR", cell=_scopes, answers=True),
    Column(name="expires", cell=lambda token, _: token["expiresAt"] or "never", rank=2),
    Column(name="used", heading="LAST USED", cell=lambda token, _: token["lastUsedAt"] or "never", rank=3),
    Column(name="revoked", cell=lambda token, _: token["revokedAt"] or "", rank=1),
)


@click.group(cls=Group, epilog=errors.epilog())
def token() -> None:
    """Make, list and revoke tokens, with which programs and people call the HTTP API."""


@token.command(epilog=_CREATE)
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="Role of the token; repeatable."
)
@click.option("--queue", "queues", multiple=True, metavar="GLOB", help="Only for these queues; repeatable.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Only for jobs with this value in meta; repeatable.")
@click.option("--expires", metavar="DURATION", help="Time until the token expires: 90s, 15m, 12h, 30d or 52w.")
@click.option("--name", default="", help="Name of the token.")
@command_options
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
    body: dict[str, Any] = {"roles": list(roles), "queues": list(queues), "meta": _pairs(meta), "name": name}
    body |= {} if expires is None else {"expires": values.duration(expires, "expires")}
    document = with_api(options, lambda api: api.post("tokens", body=body), creates=True)
    output.print_document(document, document["token"], as_json=as_json)


@token.command(name="list", epilog=errors.epilog())
@tables.table_options(_COLUMNS)
@command_options
def list_tokens(*, view: View, as_json: bool, **options: Any) -> None:
    """List all tokens, newest first, revoked and expired ones too."""
    tokens = with_api(options, lambda api: api.items("tokens"))
    tables.print_items(tokens, view, as_json=as_json, empty="there are no tokens: jobqueue token create makes one")


@token.command(epilog=errors.epilog())
@click.argument("token_id", metavar="ID")
@command_options
def revoke(token_id: str, *, as_json: bool, **options: Any) -> None:
    """Revoke a token, on every server within five seconds."""
    with_api(options, lambda api: api.delete("tokens", token_id))
    output.print_document({"id": token_id}, f"{token_id} revoked", as_json=as_json)


def _pairs(texts: tuple[str, ...]) -> dict[str, Any]:
    pairs = [_pair(text) for text in texts]
    if len(dict(pairs)) < len(pairs):
        raise InvalidInputError({"meta": ["has a key twice"]})
    return dict(pairs)


def _pair(text: str) -> tuple[str, Any]:
    path, equals, value = text.partition("=")
    if not equals:
        raise InvalidInputError({"meta": [f"{text!a:.80} is not KEY=VALUE"]})
    return path, scalar(value)
