"""The routes that tell how things are going."""

from __future__ import annotations

from typing import Final

from jobqueue.api import events, stats
from jobqueue.api.operations import Operation, Reply, Route
from jobqueue.api.schemas import watching

ROUTES: Final = (
    Route(
        "GET",
        "/v1/stats",
        stats.show,
        "read",
        Operation(tag="history", query=watching.StatsQuery, replies={200: Reply(watching.StatsShown)}),
    ),
    Route(
        "GET",
        "/metrics",
        stats.metrics,
        "read",
        Operation(tag="system", replies={200: Reply(text="in Prometheus's text format", media_type="text/plain")}),
    ),
    Route(
        "GET",
        "/v1/events",
        events.stream,
        "read",
        Operation(
            tag="history",
            query=watching.EventsQuery,
            replies={200: Reply(text="events, until either side ends it", media_type=events.EVENT_STREAM)},
            headers=("Last-Event-ID",),
        ),
    ),
)
