"""The routes of operations and of failures."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.bulk import comparison, erasures, failures, handlers, schemas
from jobqueue.api.http.route_spec import Body, Reply, Route, ok

_BEGUN: Final = {
    202: Reply(schemas.OperationResponse, "the operation, which goes on", ("Location",)),
    200: Reply(schemas.PreviewResponse, "with `dryRun`: how many jobs are meant, and some of them"),
}
_TRIED: Final = "with `trial`: the one job that is tried again; with `dryRun`: how many jobs are meant"
_FILTER: Final = {"filter": {"queue": "media", "state": "failed"}}
_REQUEUE: Final = Body(schemas.ManyRequeueSchema, _FILTER)
_KILL: Final = Body(schemas.ManyKillSchema, {"filter": {"queue": "old"}})
_DELETE: Final = Body(schemas.ManySchema, _FILTER)
_ENDED: Final = ok(schemas.OperationResponse, "the operation as it ended")

_route: Final = partial(Route, tag="jobs")

ROUTES: Final = (
    _route("POST", "/v1/jobs/requeue", handlers.requeue_many, "admin", _BEGUN, body=_REQUEUE, operation="requeueJobs"),
    _route("POST", "/v1/jobs/kill", handlers.kill_many, "admin", _BEGUN, body=_KILL, operation="killJobs"),
    _route("POST", "/v1/jobs/delete", handlers.delete_many, "admin", _BEGUN, body=_DELETE, operation="deleteJobs"),
    _route(
        "POST",
        "/v1/erase",
        erasures.erase,
        "admin",
        {
            202: Reply(schemas.OperationResponse, "the operation, which goes on", ("Location",)),
            200: Reply(schemas.ErasurePreviewResponse, "with `dryRun`: what would be erased, and what would be left"),
        },
        body=Body(schemas.EraseSchema, {"meta": {"user_id": 42}, "dryRun": True}),
        operation="eraseJobs",
    ),
    _route(
        "GET",
        "/v1/operations",
        handlers.list_operations,
        "read",
        ok(schemas.OperationPage),
        query=schemas.OperationsQuery,
        operation="listOperations",
    ),
    _route(
        "GET",
        "/v1/operations/{id}",
        handlers.show,
        "read",
        ok(schemas.OperationResponse),
        errors=(404,),
        operation="getOperation",
    ),
    _route(
        "POST", "/v1/operations/{id}/stop", handlers.stop, "admin", _ENDED, errors=(404, 409), operation="stopOperation"
    ),
    _route(
        "POST",
        "/v1/operations/{id}/resume",
        handlers.resume,
        "admin",
        ok(schemas.OperationResponse, "the operation, which goes on"),
        body=Body(schemas.RulesSchema, {"pace": 5}, optional=True),
        errors=(404, 409),
        operation="resumeOperation",
    ),
    Route(
        "GET",
        "/v1/failures",
        failures.list_failures,
        "read",
        ok(schemas.FailurePage),
        tag="history",
        query=schemas.FailuresQuery,
        operation="listFailures",
    ),
    Route(
        "GET",
        "/v1/failures/{fingerprint}",
        failures.show,
        "read",
        ok(schemas.FailureGroupResponse),
        tag="history",
        errors=(404,),
        operation="getFailure",
    ),
    Route(
        "GET",
        "/v1/failures/{fingerprint}/compare",
        comparison.compare,
        "read",
        ok(comparison.FailureComparisonResponse),
        tag="history",
        query=comparison.ComparisonQuery,
        errors=(404,),
        operation="compareFailure",
    ),
    Route(
        "POST",
        "/v1/failures/{fingerprint}/requeue",
        failures.requeue,
        "admin",
        {**_BEGUN, 200: Reply(schemas.TrialResponse, _TRIED)},
        tag="history",
        body=Body(schemas.FailureRequeueSchema, {"trial": True}, optional=True),
        errors=(404, 409),
        operation="requeueFailure",
    ),
)
