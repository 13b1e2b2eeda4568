"""The routes of batches."""

from __future__ import annotations

from typing import Final

from jobqueue.api.bulk import schemas
from jobqueue.api.http.route_spec import MADE_BEFORE, Body, Operation, Reply, Route
from jobqueue.api.schemas import more_responses, queries, requests
from jobqueue.api.workflow import handlers

_BATCH: Final = Reply(more_responses.BatchResponse, "the batch")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/batches",
        handlers.create,
        "enqueue",
        Operation(
            tag="batches",
            body=Body(
                requests.BatchSchema,
                example={"jobs": [{"ref": "fetch", "type": "fetch"}, {"type": "parse", "dependsOn": ["fetch"]}]},
            ),
            replies={
                201: Reply(more_responses.NewBatchResponse, "the new batch", ("Location",)),
                200: Reply(more_responses.NewBatchResponse, MADE_BEFORE, ("Location",)),
            },
            errors=(404, 409),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "GET",
        "/v1/batches",
        handlers.list_batches,
        "read",
        Operation(tag="batches", query=queries.BatchesQuery, replies={200: Reply(more_responses.BatchPage)}),
    ),
    Route(
        "GET", "/v1/batches/{id}", handlers.show, "read", Operation(tag="batches", replies={200: _BATCH}, errors=(404,))
    ),
    Route(
        "POST",
        "/v1/batches/{id}/jobs",
        handlers.add_jobs,
        "enqueue",
        Operation(
            tag="batches",
            body=Body(requests.BatchAddSchema, example={"jobs": [{"type": "parse"}]}),
            replies={
                201: Reply(more_responses.AddedPage, "the new jobs"),
                200: Reply(more_responses.AddedPage, "the jobs, which were all there already"),
            },
            errors=(404, 409),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/seal",
        handlers.seal,
        "enqueue",
        Operation(tag="batches", replies={200: _BATCH}, errors=(404, 409)),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/kill",
        handlers.kill,
        "admin",
        Operation(
            tag="batches",
            body=Body(requests.KillSchema, optional=True, example={"reason": "a wrong import"}),
            replies={
                200: Reply(more_responses.KilledBatchResponse),
                202: Reply(
                    schemas.OperationResponse, "of more than 100 jobs: the operation that ends them", ("Location",)
                ),
            },
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/requeue",
        handlers.requeue,
        "admin",
        Operation(
            tag="batches",
            body=Body(requests.BatchRequeueSchema, optional=True, example={"callbacks": True}),
            replies={200: _BATCH},
            errors=(404, 409),
        ),
    ),
)
