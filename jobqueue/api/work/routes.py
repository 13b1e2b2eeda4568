"""The routes of workers that poll."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Body, Reply, Route, ok
from jobqueue.api.jobs import handlers as jobs
from jobqueue.api.schemas import responses
from jobqueue.api.work import handlers, schemas

_BEAT: Final = Body(schemas.HeartbeatSchema, {"token": "9f2c", "progress": 40, "logs": ["half way"]})
_SUCCEED: Final = Body(schemas.SucceedSchema, {"token": "9f2c", "result": {"width": 320}})
_FAIL: Final = Body(schemas.FailSchema, {"token": "9f2c", "reason": "no route to host"})
_DIE: Final = Body(schemas.DieSchema, {"token": "9f2c", "reason": "no source"})
_RETRY: Final = Body(schemas.RetrySchema, {"token": "9f2c", "delay": 60})
_GONE: Final = (404, 409)
_SETTLED: Final = ok(schemas.SettledResponse, "what became of the job")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/jobs/{id}/heartbeat",
        handlers.heartbeat,
        "work",
        tag="work",
        body=_BEAT,
        replies=ok(schemas.BeatResponse),
        errors=_GONE,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/succeed",
        handlers.succeed,
        "work",
        tag="work",
        body=_SUCCEED,
        replies=_SETTLED,
        errors=_GONE,
    ),
    Route("POST", "/v1/jobs/{id}/fail", handlers.fail, "work", tag="work", body=_FAIL, replies=_SETTLED, errors=_GONE),
    Route("POST", "/v1/jobs/{id}/die", handlers.die, "work", tag="work", body=_DIE, replies=_SETTLED, errors=_GONE),
    Route(
        "POST", "/v1/jobs/{id}/retry", handlers.retry, "work", tag="work", body=_RETRY, replies=_SETTLED, errors=_GONE
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/claim",
        handlers.claim,
        "work",
        tag="work",
        body=Body(schemas.ClaimSchema, {"worker": "w1", "types": ["thumbnail"]}),
        replies={200: Reply(schemas.ClaimedResponse, "a job to be run now"), 204: Reply(text="there is none")},
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/parents/{parent}",
        jobs.parent,
        "work",
        tag="work",
        replies=ok(responses.ParentResponse),
        errors=(404,),
    ),
)
