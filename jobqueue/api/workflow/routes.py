"""The routes of batches."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.bulk.schemas import OperationResponse
from jobqueue.api.http.route_spec import MADE_BEFORE, Body, Reply, Route, ok
from jobqueue.api.schemas.requests import KillSchema
from jobqueue.api.workflow import handlers, schemas

_NEW: Final = {"jobs": [{"ref": "fetch", "type": "fetch"}, {"type": "parse", "dependsOn": ["fetch"]}]}
_BATCH: Final = ok(schemas.BatchResponse, "the batch")

_route: Final = partial(Route, tag="batches")

ROUTES: Final = (
    _route(
        "POST",
        "/v1/batches",
        handlers.create,
        "enqueue",
        {
            201: Reply(schemas.NewBatchResponse, "the new batch", ("Location",)),
            200: Reply(schemas.NewBatchResponse, MADE_BEFORE, ("Location",)),
        },
        body=Body(schemas.BatchSchema, _NEW),
        errors=(404, 409),
        headers=("Idempotency-Key",),
        operation="createBatch",
    ),
    _route(
        "GET",
        "/v1/batches",
        handlers.list_batches,
        "read",
        ok(schemas.BatchPage),
        query=schemas.BatchesQuery,
        operation="listBatches",
    ),
    _route("GET", "/v1/batches/{id}", handlers.show, "read", _BATCH, errors=(404,), operation="getBatch"),
    _route(
        "GET",
        "/v1/batches/{id}/graph",
        handlers.graph,
        "read",
        ok(schemas.GraphResponse),
        query=schemas.GraphQuery,
        errors=(404,),
        operation="getBatchGraph",
    ),
    _route(
        "POST",
        "/v1/batches/{id}/jobs",
        handlers.add_jobs,
        "enqueue",
        {
            201: Reply(schemas.AddedPage, "the new jobs"),
            200: Reply(schemas.AddedPage, "the jobs, which were all there already"),
        },
        body=Body(schemas.BatchAddSchema, {"jobs": [{"type": "parse"}]}),
        errors=(404, 409),
        headers=("Idempotency-Key",),
        operation="addBatchJobs",
    ),
    _route("POST", "/v1/batches/{id}/seal", handlers.seal, "enqueue", _BATCH, errors=(404, 409), operation="sealBatch"),
    _route(
        "POST",
        "/v1/batches/{id}/kill",
        handlers.kill,
        "admin",
        {
            200: Reply(schemas.KilledBatchResponse),
            202: Reply(OperationResponse, "of more than 100 jobs: the operation that ends them", ("Location",)),
        },
        body=Body(KillSchema, {"reason": "a wrong import"}, optional=True),
        errors=(404, 409),
        operation="killBatch",
    ),
    _route(
        "POST",
        "/v1/batches/{id}/requeue",
        handlers.requeue,
        "admin",
        _BATCH,
        body=Body(schemas.BatchRequeueSchema, {"callbacks": True}, optional=True),
        errors=(404, 409),
        operation="requeueBatch",
    ),
)
