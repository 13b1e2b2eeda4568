"""The routes of steps."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import Body, Reply, Route, ok
from jobqueue.api.schemas.responses import StepResponse
from jobqueue.api.steps import answers, calls, handlers, schemas, signals
from jobqueue.api.work.schemas import SettledResponse

_STEP: Final = Body(schemas.StepSchema, {"token": "9f2c", "name": "fetch", "result": {"rows": 3}})
_SUSPEND: Final = Body(schemas.SuspendSchema, {"token": "9f2c", "name": "cooling-off", "delay": 3600})
_CALL: Final = Body(
    schemas.CallSchema, {"token": "9f2c", "name": "thumbs", "jobs": [{"type": "thumbnail", "data": {"src": "a.png"}}]}
)
_SETTLED: Final = ok(SettledResponse, "what became of the job")

_route: Final = partial(Route, tag="work", errors=(404, 409), has_claim=True)

_SIGNAL: Final = Body(schemas.SignalSchema, {"value": {"by": "ann"}, "id": "click-7"}, optional=True)
_SENT: Final = ok(schemas.SentSignalResponse, "the signal, kept or known")
_DECISION: Final = Body(schemas.DecisionSchema, {"happened": True, "result": {"payment": "p-7"}})
_CHOICE: Final = Body(schemas.ChoiceSchema, {"choice": "Approve"}, media_types=(answers.FORM,))
_PAGE: Final = {200: Reply(text="the page", media_type="text/html")}

_sent: Final = partial(
    Route, tag="jobs", or_role="decide", body=_SIGNAL, errors=(404, 409), headers=("Idempotency-Key",)
)
_page: Final = partial(Route, tag="jobs", errors=(404, 409, 410))

ROUTES: Final = (
    _route(
        "POST",
        "/v1/jobs/{id}/steps",
        handlers.record,
        "work",
        ok(schemas.RecordedResponse),
        body=_STEP,
        operation="recordStep",
        headers=("Idempotency-Key",),
    ),
    _route("GET", "/v1/jobs/{id}/steps/{step}", handlers.show, "read", ok(StepResponse), operation="getStep"),
    _route(
        "GET",
        "/v1/jobs/{id}/steps/{step}/results",
        calls.results,
        "read",
        ok(schemas.ResultsResponse),
        query=schemas.ResultsQuery,
        operation="listStepResults",
    ),
    _route(
        "POST",
        "/v1/jobs/{id}/calls",
        calls.call,
        "work",
        ok(schemas.CalledResponse),
        body=_CALL,
        operation="createChildJobs",
    ),
    _route("POST", "/v1/jobs/{id}/suspend", handlers.suspend, "work", _SETTLED, body=_SUSPEND, operation="suspendJob"),
    Route(
        "POST",
        "/v1/jobs/{id}/steps/{step}",
        handlers.decide,
        "decide",
        _SETTLED,
        tag="jobs",
        body=_DECISION,
        errors=(404, 409),
        operation="decideStep",
    ),
    _sent("POST", "/v1/jobs/{id}/signals/{name}", signals.send, "enqueue", _SENT, operation="sendSignal"),
    _sent(
        "POST",
        "/v1/queues/{queue}/keys/{key}/signals/{name}",
        signals.send_by_key,
        "enqueue",
        _SENT,
        operation="sendSignalByKey",
    ),
    _page("GET", "/answer/{link}", answers.show, None, _PAGE, operation="getAnswerPage"),
    _page("POST", "/answer/{link}", answers.answer, None, _PAGE, body=_CHOICE, operation="sendAnswer"),
)
