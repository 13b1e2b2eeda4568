"""The routes of the service itself."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.description import openapi, pages
from jobqueue.api.http.route_spec import Reply, Route, ok
from jobqueue.api.system import handlers, schemas

_HEALTH: Final = ok(schemas.StatusResponse)
_PAGE: Final = {200: Reply(text="a page", media_type="text/html")}
_FILE: Final = {200: Reply(text="a file", media_type="text/javascript")}

_route: Final = partial(Route, tag="system")

ROUTES: Final = (
    _route("GET", "/", handlers.index, None, ok(schemas.IndexResponse), operation="listRoutes"),
    _route("GET", "/healthz", handlers.healthz, None, _HEALTH, operation="getHealth"),
    _route("GET", "/readyz", handlers.readyz, None, _HEALTH, operation="getReadiness"),
    _route("GET", "/openapi.json", openapi.openapi, None, ok(schemas.DocumentResponse), operation="getOpenApi"),
    _route("GET", "/docs", pages.page, None, _PAGE, operation="getDocsPage"),
    _route("GET", "/docs/{file}", pages.asset, None, _FILE, errors=(404,), operation="getDocsFile"),
)
