"""The routes of operations and of failures."""

from __future__ import annotations

from typing import Final

from jobqueue.api.bulk import failures, handlers, schemas
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

ROUTES: Final = (
    Route("POST", "/v1/jobs/requeue", handlers.requeue_many, "admin", tag="jobs", body=_REQUEUE, replies=_BEGUN),
    Route("POST", "/v1/jobs/kill", handlers.kill_many, "admin", tag="jobs", body=_KILL, replies=_BEGUN),
    Route("POST", "/v1/jobs/delete", handlers.delete_many, "admin", tag="jobs", body=_DELETE, replies=_BEGUN),
    Route(
        "GET",
        "/v1/operations",
        handlers.list_operations,
        "read",
        tag="jobs",
        query=schemas.OperationsQuery,
        replies=ok(schemas.OperationPage),
    ),
    Route(
        "GET",
        "/v1/operations/{id}",
        handlers.show,
        "read",
        tag="jobs",
        replies=ok(schemas.OperationResponse),
        errors=(404,),
    ),
    Route("POST", "/v1/operations/{id}/stop", handlers.stop, "admin", tag="jobs", replies=_ENDED, errors=(404, 409)),
    Route(
        "GET",
        "/v1/failures",
        failures.list_failures,
        "read",
        tag="history",
        query=schemas.FailuresQuery,
        replies=ok(schemas.FailurePage),
    ),
    Route(
        "POST",
        "/v1/failures/{fingerprint}/requeue",
        failures.requeue,
        "admin",
        tag="history",
        body=Body(schemas.FailureRequeueSchema, {"trial": True}, optional=True),
        replies={**_BEGUN, 200: Reply(schemas.TrialResponse, _TRIED)},
        errors=(404, 409),
    ),
)
