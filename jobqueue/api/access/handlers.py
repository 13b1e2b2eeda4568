"""Tokens: make, list and revoke them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from jobqueue.api.access.schemas import TokenSchema
from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import page_reply, reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.schemas.queries import NO_CURSOR, encoded
from jobqueue.api.security.caller import actor
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.access.token import Token


async def list_tokens(request: web.Request) -> web.Response:
    """Return all tokens, newest first, revoked and expired ones too; never their secrets."""
    tokens = await request.app[RUNTIME].access.store.all()
    after, most = request[QUERY]["cursor"], request[QUERY]["limit"]
    if after:
        ids = [token.id for token in tokens]
        if after not in ids:
            raise InvalidInputError({"cursor": [NO_CURSOR]})
        tokens = tokens[ids.index(after) + 1 :]
    return page_reply(tokens[: most + 1], most, _shown, lambda token: encoded(token.id))


async def create(request: web.Request) -> web.Response:
    """Create a token; only this reply shows its text."""
    access, body = request.app[RUNTIME].access, await read_body(request, TokenSchema)
    fields: dict[str, Any] = {**body, "meta": tuple(_pairs(body.get("meta", {})))}
    made, text = await access.create(**fields, by=actor(request))
    return reply(made.wire() | {"token": text}, status=201, headers={"Cache-Control": "no-store"})


async def revoke(request: web.Request) -> web.Response:
    """Revoke a token, on every server within five seconds."""
    await request.app[RUNTIME].access.revoke(request.match_info["token"], by=actor(request))
    return web.Response(status=204)


def _shown(token: Token) -> dict[str, Any]:
    return token.wire()


def _pairs(meta: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Return the values of a ``meta`` by their paths, also of nested objects."""
    pairs: list[tuple[str, Any]] = []
    for name, value in meta.items():
        path = f"{above}{name}"
        pairs += _pairs(value, f"{path}.") if isinstance(value, dict) and value else [(path, value)]
    return pairs
