"""The routes of the service itself."""

from __future__ import annotations

from typing import Final

from jobqueue.api import document, system
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
)
