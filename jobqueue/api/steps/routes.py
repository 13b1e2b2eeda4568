"""The routes of steps."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import Body, Route, ok
from jobqueue.api.schemas.responses import StepResponse
from jobqueue.api.steps import handlers, schemas
from jobqueue.api.work.schemas import SettledResponse

_STEP: Final = Body(schemas.StepSchema, {"token": "9f2c", "name": "fetch", "result": {"rows": 3}})
_SUSPEND: Final = Body(schemas.SuspendSchema, {"token": "9f2c", "name": "cooling-off", "delay": 3600})
_SETTLED: Final = ok(SettledResponse, "what became of the job")

_route: Final = partial(Route, tag="work", errors=(404, 409), has_claim=True)

ROUTES: Final = (
    _route("POST", "/v1/jobs/{id}/steps", handlers.record, "work", ok(schemas.RecordedResponse), body=_STEP),
    _route("GET", "/v1/jobs/{id}/steps/{step}", handlers.show, "read", ok(StepResponse)),
    _route("POST", "/v1/jobs/{id}/suspend", handlers.suspend, "work", _SETTLED, body=_SUSPEND),
)
