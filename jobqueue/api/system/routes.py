"""The routes of the service itself."""

from __future__ import annotations

from typing import Final

from jobqueue.api.description import openapi, pages
from jobqueue.api.http.route_spec import Operation, Reply, Route
from jobqueue.api.schemas import more_responses
from jobqueue.api.system import handlers

ROUTES: Final = (
    Route(
        "GET", "/", handlers.index, None, Operation(tag="system", replies={200: Reply(more_responses.IndexResponse)})
    ),
    Route(
        "GET",
        "/healthz",
        handlers.healthz,
        None,
        Operation(tag="system", replies={200: Reply(more_responses.StatusResponse)}),
    ),
    Route(
        "GET",
        "/readyz",
        handlers.readyz,
        None,
        Operation(tag="system", replies={200: Reply(more_responses.StatusResponse)}),
    ),
    Route(
        "GET",
        "/openapi.json",
        openapi.openapi,
        None,
        Operation(tag="system", replies={200: Reply(more_responses.DocumentResponse)}),
    ),
    Route(
        "GET",
        "/docs",
        pages.page,
        None,
        Operation(tag="system", replies={200: Reply(text="a page", media_type="text/html")}),
    ),
    Route(
        "GET",
        "/docs/{file}",
        pages.asset,
        None,
        Operation(tag="system", replies={200: Reply(text="a file", media_type="text/javascript")}, errors=(404,)),
    ),
)
