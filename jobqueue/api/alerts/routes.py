"""The routes of alerts."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.alerts import handlers, schemas
from jobqueue.api.http.route_spec import NO_CONTENT, Body, Reply, Route, ok
from jobqueue.api.schemas.queries import NamesQuery
from jobqueue.api.schemas.responses import JobResponse

_NEW: Final = {"url": "https://hooks.example.com/jobs", "kinds": ["failures", "queue"], "stuckSeconds": 600}
_ALERT: Final = ok(schemas.AlertResponse, "the alert as it is now")

_route: Final = partial(Route, tag="alerts")

ROUTES: Final = (
    _route(
        "GET",
        "/v1/alerts",
        handlers.list_alerts,
        "read",
        ok(schemas.AlertPage),
        query=NamesQuery,
        operation="listAlerts",
    ),
    _route(
        "GET",
        "/v1/alerts/{name}",
        handlers.show,
        "read",
        _ALERT,
        errors=(404,),
        has_etag=True,
        operation="getAlert",
    ),
    _route(
        "PUT",
        "/v1/alerts/{name}",
        handlers.put,
        "admin",
        {**_ALERT, 201: Reply(schemas.AlertResponse, "the new alert")},
        body=Body(schemas.AlertSchema, _NEW),
        has_etag=True,
        operation="putAlert",
    ),
    _route(
        "DELETE",
        "/v1/alerts/{name}",
        handlers.delete,
        "admin",
        NO_CONTENT,
        errors=(404,),
        has_etag=True,
        operation="deleteAlert",
    ),
    _route(
        "POST",
        "/v1/alerts/{name}/mute",
        handlers.mute,
        "admin",
        _ALERT,
        errors=(404,),
        body=Body(schemas.MuteSchema, {"seconds": 7200, "reason": "a new disk"}),
        has_etag=True,
        operation="muteAlert",
    ),
    _route(
        "POST",
        "/v1/alerts/{name}/test",
        handlers.test,
        "admin",
        {201: Reply(JobResponse, "the job that is the message", ("Location",))},
        errors=(404,),
        operation="testAlert",
    ),
)
