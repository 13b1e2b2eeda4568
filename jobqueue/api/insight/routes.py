"""The routes that tell how things are going."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Operation, Reply, Route
from jobqueue.api.insight import events, schemas, stats

ROUTES: Final = (
    Route(
        "GET",
        "/v1/stats",
        stats.show,
        "read",
        Operation(tag="history", query=schemas.StatsQuery, replies={200: Reply(schemas.StatsResponse)}),
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
            query=schemas.EventsQuery,
            replies={200: Reply(text="events, until either side ends it", media_type=events.EVENT_STREAM)},
            headers=("Last-Event-ID",),
        ),
    ),
)
