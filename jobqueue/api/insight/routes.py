"""The routes of statistics, metrics, events and the audit."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Reply, Route, ok
from jobqueue.api.insight import events, schemas, stats

_METRICS: Final = {200: Reply(text="in Prometheus's text format", media_type="text/plain")}
_EVENTS: Final = {200: Reply(text="events, until either side ends it", media_type=events.EVENT_STREAM)}

ROUTES: Final = (
    Route(
        "GET",
        "/v1/stats",
        stats.show,
        "read",
        tag="history",
        query=schemas.StatsQuery,
        replies=ok(schemas.StatsResponse),
    ),
    Route("GET", "/metrics", stats.metrics, "read", tag="system", replies=_METRICS),
    Route(
        "GET",
        "/v1/events",
        events.stream,
        "read",
        tag="history",
        query=schemas.EventsQuery,
        replies=_EVENTS,
        headers=("Last-Event-ID",),
    ),
    Route(
        "GET",
        "/v1/audit",
        stats.list_changes,
        "admin",
        tag="access",
        query=schemas.AuditQueryString,
        replies=ok(schemas.ChangePage),
    ),
)
