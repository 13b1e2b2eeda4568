"""The routes of the service itself."""

from __future__ import annotations

from typing import Final

from jobqueue.api import docs, document, system
from jobqueue.api.operations import Operation, Reply, Route
from jobqueue.api.schemas import shown_more

ROUTES: Final = (
    Route("GET", "/", system.index, None, Operation(tag="system", replies={200: Reply(shown_more.IndexShown)})),
    Route(
        "GET", "/healthz", system.healthz, None, Operation(tag="system", replies={200: Reply(shown_more.StatusShown)})
    ),
    Route("GET", "/readyz", system.readyz, None, Operation(tag="system", replies={200: Reply(shown_more.StatusShown)})),
    Route(
        "GET",
        "/openapi.json",
        document.openapi,
        None,
        Operation(tag="system", replies={200: Reply(shown_more.DocumentShown)}),
    ),
    Route(
        "GET",
        "/docs",
        docs.page,
        None,
        Operation(tag="system", replies={200: Reply(text="a page", media_type="text/html")}),
    ),
    Route(
        "GET",
        "/docs/{file}",
        docs.asset,
        None,
        Operation(tag="system", replies={200: Reply(text="a file", media_type="text/javascript")}, errors=(404,)),
    ),
)
