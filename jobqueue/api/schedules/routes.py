"""The routes of schedules."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import NO_CONTENT, Body, Reply, Route, ok
from jobqueue.api.schedules import handlers, schemas
from jobqueue.api.schemas.queries import NamesQuery
from jobqueue.api.schemas.responses import JobResponse

_NEW: Final = {"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}}
_TIMES: Final = {"cron": "30 2 * * 1-5", "timezone": "Europe/Berlin"}
_SCHEDULE: Final = ok(schemas.ScheduleResponse, "the schedule as it is now")

_route: Final = partial(Route, tag="schedules")

ROUTES: Final = (
    _route(
        "GET",
        "/v1/schedules",
        handlers.list_schedules,
        "read",
        ok(schemas.SchedulePage),
        query=NamesQuery,
        operation="listSchedules",
    ),
    _route(
        "GET",
        "/v1/schedules/{name}",
        handlers.show,
        "read",
        _SCHEDULE,
        errors=(404,),
        has_etag=True,
        operation="getSchedule",
    ),
    _route(
        "PUT",
        "/v1/schedules/{name}",
        handlers.put,
        "admin",
        {
            **_SCHEDULE,
            201: Reply(schemas.ScheduleResponse, "the new schedule"),
            204: Reply(text="with `dryRun`: this would be taken"),
        },
        query=schemas.PutQuery,
        body=Body(schemas.ScheduleSchema, _NEW),
        has_etag=True,
        operation="putSchedule",
    ),
    _route(
        "DELETE",
        "/v1/schedules/{name}",
        handlers.delete,
        "admin",
        NO_CONTENT,
        errors=(404,),
        has_etag=True,
        operation="deleteSchedule",
    ),
    _route(
        "POST",
        "/v1/schedules/{name}/preview",
        handlers.preview,
        "read",
        ok(schemas.OutlookResponse, "the next times"),
        body=Body(schemas.TimesSchema, _TIMES),
        errors=(404,),
        operation="previewSchedule",
    ),
    _route(
        "POST",
        "/v1/schedules/{name}/run",
        handlers.run,
        "admin",
        {201: Reply(JobResponse, "the new job", ("Location",))},
        errors=(404, 409),
        operation="runSchedule",
    ),
    _route(
        "POST",
        "/v1/schedules/{name}/pause",
        handlers.pause,
        "admin",
        _SCHEDULE,
        errors=(404, 409),
        has_etag=True,
        operation="pauseSchedule",
    ),
    _route(
        "POST",
        "/v1/schedules/{name}/resume",
        handlers.resume,
        "admin",
        _SCHEDULE,
        errors=(404, 409),
        has_etag=True,
        operation="resumeSchedule",
    ),
)
