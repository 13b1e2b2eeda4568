"""The routes of batches."""

from __future__ import annotations

from typing import Final

from jobqueue.api.bulk.schemas import OperationResponse
from jobqueue.api.http.route_spec import MADE_BEFORE, Body, Reply, Route, ok
from jobqueue.api.schemas.requests import KillSchema
from jobqueue.api.workflow import handlers, schemas

_NEW: Final = {"jobs": [{"ref": "fetch", "type": "fetch"}, {"type": "parse", "dependsOn": ["fetch"]}]}
_BATCH: Final = ok(schemas.BatchResponse, "the batch")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/batches",
        handlers.create,
        "enqueue",
        tag="batches",
        body=Body(schemas.BatchSchema, _NEW),
        replies={
            201: Reply(schemas.NewBatchResponse, "the new batch", ("Location",)),
            200: Reply(schemas.NewBatchResponse, MADE_BEFORE, ("Location",)),
        },
        errors=(404, 409),
        headers=("Idempotency-Key",),
    ),
    Route(
        "GET",
        "/v1/batches",
        handlers.list_batches,
        "read",
        tag="batches",
        query=schemas.BatchesQuery,
        replies=ok(schemas.BatchPage),
    ),
    Route("GET", "/v1/batches/{id}", handlers.show, "read", tag="batches", replies=_BATCH, errors=(404,)),
    Route(
        "POST",
        "/v1/batches/{id}/jobs",
        handlers.add_jobs,
        "enqueue",
        tag="batches",
        body=Body(schemas.BatchAddSchema, {"jobs": [{"type": "parse"}]}),
        replies={
            201: Reply(schemas.AddedPage, "the new jobs"),
            200: Reply(schemas.AddedPage, "the jobs, which were all there already"),
        },
        errors=(404, 409),
        headers=("Idempotency-Key",),
    ),
    Route("POST", "/v1/batches/{id}/seal", handlers.seal, "enqueue", tag="batches", replies=_BATCH, errors=(404, 409)),
    Route(
        "POST",
        "/v1/batches/{id}/kill",
        handlers.kill,
        "admin",
        tag="batches",
        body=Body(KillSchema, {"reason": "a wrong import"}, optional=True),
        replies={
            200: Reply(schemas.KilledBatchResponse),
            202: Reply(OperationResponse, "of more than 100 jobs: the operation that ends them", ("Location",)),
        },
        errors=(404, 409),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/requeue",
        handlers.requeue,
        "admin",
        tag="batches",
        body=Body(schemas.BatchRequeueSchema, {"callbacks": True}, optional=True),
        replies=_BATCH,
        errors=(404, 409),
    ),
)
