"""The routes of tokens."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.access import handlers, schemas
from jobqueue.api.http.route_spec import NO_CONTENT, Body, Reply, Route, ok

_NEW: Final = {"roles": ["enqueue"], "queues": ["media*"], "name": "importer", "expires": 2_592_000}

_route: Final = partial(Route, tag="access")

ROUTES: Final = (
    _route(
        "GET",
        "/v1/tokens",
        handlers.list_tokens,
        "admin",
        ok(schemas.TokenPage),
        query=schemas.TokensQuery,
        operation="listTokens",
    ),
    _route(
        "POST",
        "/v1/tokens",
        handlers.create,
        "admin",
        {201: Reply(schemas.NewTokenResponse, "the new token with its text, shown only now")},
        body=Body(schemas.TokenSchema, _NEW),
        operation="createToken",
    ),
    _route(
        "DELETE", "/v1/tokens/{token}", handlers.revoke, "admin", NO_CONTENT, errors=(404,), operation="revokeToken"
    ),
)
