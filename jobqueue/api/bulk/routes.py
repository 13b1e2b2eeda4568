"""The routes of what is done to many jobs at once, and of failures."""

from __future__ import annotations

from typing import Final

from jobqueue.api.bulk import failures, handlers, schemas
from jobqueue.api.http.route_spec import Body, Operation, Reply, Route

_BEGUN: Final = {
    202: Reply(schemas.OperationResponse, "the operation, which goes on", ("Location",)),
    200: Reply(schemas.PreviewResponse, "with `dryRun`: how many jobs are meant, and some of them"),
}
_TRIED: Final = "with `trial`: the one job that is tried again; with `dryRun`: how many jobs are meant"
_FILTER: Final = {"queue": "media", "state": "failed"}

ROUTES: Final = (
    Route(
        "POST",
        "/v1/jobs/requeue",
        handlers.requeue_many,
        "admin",
        Operation(tag="jobs", body=Body(schemas.ManyRequeueSchema, example={"filter": _FILTER}), replies=_BEGUN),
    ),
    Route(
        "POST",
        "/v1/jobs/kill",
        handlers.kill_many,
        "admin",
        Operation(tag="jobs", body=Body(schemas.ManyKillSchema, example={"filter": {"queue": "old"}}), replies=_BEGUN),
    ),
    Route(
        "POST",
        "/v1/jobs/delete",
        handlers.delete_many,
        "admin",
        Operation(tag="jobs", body=Body(schemas.ManySchema, example={"filter": _FILTER}), replies=_BEGUN),
    ),
    Route(
        "GET",
        "/v1/operations",
        handlers.list_operations,
        "read",
        Operation(tag="jobs", query=schemas.OperationsQuery, replies={200: Reply(schemas.OperationPage)}),
    ),
    Route(
        "GET",
        "/v1/operations/{id}",
        handlers.show,
        "read",
        Operation(tag="jobs", replies={200: Reply(schemas.OperationResponse)}, errors=(404,)),
    ),
    Route(
        "POST",
        "/v1/operations/{id}/stop",
        handlers.stop,
        "admin",
        Operation(
            tag="jobs", replies={200: Reply(schemas.OperationResponse, "the operation as it ended")}, errors=(404, 409)
        ),
    ),
    Route(
        "GET",
        "/v1/failures",
        failures.list_failures,
        "read",
        Operation(tag="history", query=schemas.FailuresQuery, replies={200: Reply(schemas.FailurePage)}),
    ),
    Route(
        "POST",
        "/v1/failures/{fingerprint}/requeue",
        failures.requeue,
        "admin",
        Operation(
            tag="history",
            body=Body(schemas.FailureRequeueSchema, optional=True, example={"trial": True}),
            replies={**_BEGUN, 200: Reply(schemas.TrialResponse, _TRIED)},
            errors=(404, 409),
        ),
    ),
)
