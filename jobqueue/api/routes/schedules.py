"""The routes of schedules."""

from __future__ import annotations

from typing import Final

from jobqueue.api import schedules
from jobqueue.api.operations import Body, Operation, Reply, Route
from jobqueue.api.schemas import queries, requests, shown_more

_SCHEDULE: Final = Reply(shown_more.ScheduleShown, "the schedule as it is now")
_NOTHING: Final = Reply(text="done")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/schedules",
        schedules.list_schedules,
        "read",
        Operation(tag="schedules", query=queries.NamesQuery, replies={200: Reply(shown_more.SchedulePage)}),
    ),
    Route(
        "GET",
        "/v1/schedules/{name}",
        schedules.show,
        "read",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404,), has_etag=True),
    ),
    Route(
        "PUT",
        "/v1/schedules/{name}",
        schedules.put,
        "admin",
        Operation(
            tag="schedules",
            body=Body(
                requests.ScheduleSchema,
                example={"cron": "0 6 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}},
            ),
            replies={200: _SCHEDULE, 201: Reply(shown_more.ScheduleShown, "the new schedule")},
            has_etag=True,
        ),
    ),
    Route(
        "DELETE",
        "/v1/schedules/{name}",
        schedules.delete,
        "admin",
        Operation(tag="schedules", replies={204: _NOTHING}, errors=(404,), has_etag=True),
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/pause",
        schedules.pause,
        "admin",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404, 409), has_etag=True),
    ),
    Route(
        "POST",
        "/v1/schedules/{name}/resume",
        schedules.resume,
        "admin",
        Operation(tag="schedules", replies={200: _SCHEDULE}, errors=(404, 409), has_etag=True),
    ),
)
