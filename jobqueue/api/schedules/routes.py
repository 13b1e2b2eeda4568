"""The routes of schedules."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import NO_CONTENT, Body, Reply, Route, ok
from jobqueue.api.schedules import handlers, schemas
from jobqueue.api.schemas.queries import NamesQuery

_NEW: Final = {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}}
_SCHEDULE: Final = ok(schemas.ScheduleResponse, "the schedule as it is now")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/schedules",
        handlers.list_schedules,
        "read",
        tag="schedules",
        query=NamesQuery,
        replies=ok(schemas.SchedulePage),
    ),
    Route(
        "GET",
        "/v1/schedules/{name}",
        handlers.show,
        "read",
        tag="schedules",
        replies=_SCHEDULE,
        errors=(404,),
        has_etag=True,
    ),
    Route(
        "PUT",
        "/v1/schedules/{name}",
        handlers.put,
        "admin",
        tag="schedules",
        body=Body(schemas.ScheduleSchema, _NEW),
        replies={**_SCHEDULE, 201: Reply(schemas.ScheduleResponse, "the new schedule")},
        has_etag=True,
    ),
    Route(
        "DELETE",
        "/v1/schedules/{name}",
        handlers.delete,
        "admin",
        tag="schedules",
        replies=NO_CONTENT,
        errors=(404,),
        has_etag=True,
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/pause",
        handlers.pause,
        "admin",
        tag="schedules",
        replies=_SCHEDULE,
        errors=(404, 409),
        has_etag=True,
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/resume",
        handlers.resume,
        "admin",
        tag="schedules",
        replies=_SCHEDULE,
        errors=(404, 409),
        has_etag=True,
    ),
)
