"""The routes of workers that poll."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import Body, Reply, Route, ok
from jobqueue.api.jobs import handlers as jobs
from jobqueue.api.schemas import responses
from jobqueue.api.work import handlers, schemas, workers

_BEAT: Final = Body(schemas.HeartbeatSchema, {"token": "9f2c", "progress": 40, "logs": ["half way"]})
_SUCCEED: Final = Body(schemas.SucceedSchema, {"token": "9f2c", "result": {"width": 320}})
_FAIL: Final = Body(schemas.FailSchema, {"token": "9f2c", "reason": "no route to host"})
_DIE: Final = Body(schemas.DieSchema, {"token": "9f2c", "reason": "no source"})
_RETRY: Final = Body(schemas.RetrySchema, {"token": "9f2c", "delay": 60})
_WORKER: Final = ok(schemas.WorkerResponse, "the worker as it is now")
_GONE: Final = (404, 409)
_SETTLED: Final = ok(schemas.SettledResponse, "what became of the job")

_route: Final = partial(Route, tag="work")
_report: Final = partial(_route, "POST", role="work", errors=_GONE, has_claim=True)

ROUTES: Final = (
    _report(
        "/v1/jobs/{id}/heartbeat",
        handlers.heartbeat,
        replies=ok(schemas.BeatResponse),
        body=_BEAT,
        headers=("Idempotency-Key",),
        operation="heartbeatJob",
    ),
    _report("/v1/jobs/{id}/succeed", handlers.succeed, replies=_SETTLED, body=_SUCCEED, operation="succeedJob"),
    _report("/v1/jobs/{id}/fail", handlers.fail, replies=_SETTLED, body=_FAIL, operation="failJob"),
    _report("/v1/jobs/{id}/die", handlers.die, replies=_SETTLED, body=_DIE, operation="dieJob"),
    _report("/v1/jobs/{id}/retry", handlers.retry, replies=_SETTLED, body=_RETRY, operation="retryJob"),
    _route(
        "POST",
        "/v1/queues/{queue}/claim",
        handlers.claim,
        "work",
        {200: Reply(schemas.ClaimedResponse, "a job to be run now"), 204: Reply(text="there is none")},
        body=Body(schemas.ClaimSchema, {"worker": "w1", "types": ["thumbnail"]}),
        errors=(410,),
        headers=("Idempotency-Key",),
        operation="claimJob",
    ),
    _route(
        "GET",
        "/v1/jobs/{id}/parents/{parent}",
        jobs.parent,
        "work",
        ok(responses.ParentResponse),
        errors=_GONE,
        has_claim=True,
        operation="getJobParent",
    ),
    _route(
        "GET",
        "/v1/workers",
        workers.list_workers,
        "read",
        ok(schemas.WorkerPage),
        query=schemas.WorkersQuery,
        operation="listWorkers",
    ),
    _route("GET", "/v1/workers/{name}", workers.show, "read", _WORKER, errors=(404,), operation="getWorker"),
    _route(
        "POST",
        "/v1/workers/{name}/drain",
        workers.drain,
        "admin",
        _WORKER,
        errors=(404, 409),
        operation="drainWorker",
    ),
    _route(
        "POST",
        "/v1/workers/{name}/resume",
        workers.resume,
        "admin",
        _WORKER,
        errors=(404, 409),
        operation="resumeWorker",
    ),
    _route(
        "GET",
        "/v1/types",
        workers.list_types,
        "read",
        ok(schemas.TypePage),
        query=schemas.TypesQuery,
        operation="listTypes",
    ),
)
