"""The routes of statistics, metrics, events and the audit."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import Reply, Route, ok
from jobqueue.api.insight import events, schemas, stats

_METRICS: Final = {200: Reply(text="in Prometheus's text format", media_type="text/plain")}
_EVENTS: Final = {200: Reply(text="events, until either side ends it", media_type=events.EVENT_STREAM)}

_route: Final = partial(Route, tag="history")

ROUTES: Final = (
    _route(
        "GET",
        "/v1/stats",
        stats.show,
        "read",
        ok(schemas.StatsResponse),
        query=schemas.StatsQuery,
        operation="getStats",
    ),
    _route(
        "GET",
        "/v1/stats/series",
        stats.series,
        "read",
        ok(schemas.SeriesResponse),
        query=schemas.SeriesQuery,
        operation="getStatsSeries",
    ),
    _route("GET", "/v1/status", stats.list_concerns, "read", ok(schemas.ConcernsResponse), operation="getStatus"),
    Route("GET", "/metrics", stats.metrics, "read", _METRICS, tag="system", operation="getMetrics"),
    _route(
        "GET",
        "/v1/events",
        events.stream,
        "read",
        _EVENTS,
        query=schemas.EventsQuery,
        headers=("Last-Event-ID",),
        operation="streamEvents",
    ),
    Route(
        "GET",
        "/v1/audit",
        stats.list_changes,
        "admin",
        ok(schemas.ChangePage),
        tag="access",
        query=schemas.AuditQueryString,
        operation="listChanges",
    ),
)
