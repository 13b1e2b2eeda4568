"""The routes of steps."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import Body, Route, ok
from jobqueue.api.schemas.responses import StepResponse
from jobqueue.api.steps import calls, handlers, schemas
from jobqueue.api.work.schemas import SettledResponse

_STEP: Final = Body(schemas.StepSchema, {"token": "9f2c", "name": "fetch", "result": {"rows": 3}})
_SUSPEND: Final = Body(schemas.SuspendSchema, {"token": "9f2c", "name": "cooling-off", "delay": 3600})
_CALL: Final = Body(
    schemas.CallSchema, {"token": "9f2c", "name": "thumbs", "jobs": [{"type": "thumbnail", "data": {"src": "a.png"}}]}
)
_SETTLED: Final = ok(SettledResponse, "what became of the job")

_route: Final = partial(Route, tag="work", errors=(404, 409), has_claim=True)

ROUTES: Final = (
    _route("POST", "/v1/jobs/{id}/steps", handlers.record, "work", ok(schemas.RecordedResponse), body=_STEP),
    _route("GET", "/v1/jobs/{id}/steps/{step}", handlers.show, "read", ok(StepResponse)),
    _route(
        "GET",
        "/v1/jobs/{id}/steps/{step}/results",
        calls.results,
        "read",
        ok(schemas.ResultsResponse),
        query=schemas.ResultsQuery,
    ),
    _route("POST", "/v1/jobs/{id}/calls", calls.call, "work", ok(schemas.CalledResponse), body=_CALL),
    _route("POST", "/v1/jobs/{id}/suspend", handlers.suspend, "work", _SETTLED, body=_SUSPEND),
)
