"""The routes of schedules."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Body, Operation, Reply, Route
from jobqueue.api.schedules import handlers
from jobqueue.api.schemas import more_responses, queries, requests

_SCHEDULE: Final = Reply(more_responses.ScheduleResponse, "the schedule as it is now")
_NOTHING: Final = Reply(text="done")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/schedules",
        handlers.list_schedules,
        "read",
        Operation(tag="schedules", query=queries.NamesQuery, replies={200: Reply(more_responses.SchedulePage)}),
    ),
    Route(
        "GET",
        "/v1/schedules/{name}",
        handlers.show,
        "read",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404,), has_etag=True),
    ),
    Route(
        "PUT",
        "/v1/schedules/{name}",
        handlers.put,
        "admin",
        Operation(
            tag="schedules",
            body=Body(
                requests.ScheduleSchema,
                example={"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}},
            ),
            replies={200: _SCHEDULE, 201: Reply(more_responses.ScheduleResponse, "the new schedule")},
            has_etag=True,
        ),
    ),
    Route(
        "DELETE",
        "/v1/schedules/{name}",
        handlers.delete,
        "admin",
        Operation(tag="schedules", replies={204: _NOTHING}, errors=(404,), has_etag=True),
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/pause",
        handlers.pause,
        "admin",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404, 409), has_etag=True),
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/resume",
        handlers.resume,
        "admin",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404, 409), has_etag=True),
    ),
)
