"""The routes of the service itself."""

from __future__ import annotations

from typing import Final

from jobqueue.api.description import openapi, pages
from jobqueue.api.http.route_spec import Reply, Route, ok
from jobqueue.api.system import handlers, schemas

_HEALTH: Final = ok(schemas.StatusResponse)
_PAGE: Final = {200: Reply(text="a page", media_type="text/html")}
_FILE: Final = {200: Reply(text="a file", media_type="text/javascript")}

ROUTES: Final = (
    Route("GET", "/", handlers.index, None, tag="system", replies=ok(schemas.IndexResponse)),
    Route("GET", "/healthz", handlers.healthz, None, tag="system", replies=_HEALTH),
    Route("GET", "/readyz", handlers.readyz, None, tag="system", replies=_HEALTH),
    Route("GET", "/openapi.json", openapi.openapi, None, tag="system", replies=ok(schemas.DocumentResponse)),
    Route("GET", "/docs", pages.page, None, tag="system", replies=_PAGE),
    Route("GET", "/docs/{file}", pages.asset, None, tag="system", replies=_FILE, errors=(404,)),
)
