"""The routes of batches."""

from __future__ import annotations

from typing import Final

from jobqueue.api import batches
from jobqueue.api.operations import MADE_BEFORE, Body, Operation, Reply, Route
from jobqueue.api.schemas import bulk, queries, requests, shown_more

_BATCH: Final = Reply(shown_more.BatchShown, "the batch")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/batches",
        batches.create,
        "enqueue",
        Operation(
            tag="batches",
            body=Body(
                requests.BatchSchema,
                example={"jobs": [{"ref": "fetch", "type": "fetch"}, {"type": "parse", "dependsOn": ["fetch"]}]},
            ),
            replies={
                201: Reply(shown_more.NewBatchShown, "the new batch", ("Location",)),
                200: Reply(shown_more.NewBatchShown, MADE_BEFORE, ("Location",)),
            },
            errors=(404, 409),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "GET",
        "/v1/batches",
        batches.list_batches,
        "read",
        Operation(tag="batches", query=queries.BatchesQuery, replies={200: Reply(shown_more.BatchPage)}),
    ),
    Route(
        "GET", "/v1/batches/{id}", batches.show, "read", Operation(tag="batches", replies={200: _BATCH}, errors=(404,))
    ),
    Route(
        "POST",
        "/v1/batches/{id}/jobs",
        batches.add_jobs,
        "enqueue",
        Operation(
            tag="batches",
            body=Body(requests.BatchAddSchema, example={"jobs": [{"type": "parse"}]}),
            replies={
                201: Reply(shown_more.AddedPage, "the new jobs"),
                200: Reply(shown_more.AddedPage, "the jobs, which were all there already"),
            },
            errors=(404, 409),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/seal",
        batches.seal,
        "enqueue",
        Operation(tag="batches", replies={200: _BATCH}, errors=(404, 409)),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/kill",
        batches.kill,
        "admin",
        Operation(
            tag="batches",
            body=Body(requests.KillSchema, optional=True, example={"reason": "a wrong import"}),
            replies={
                200: Reply(shown_more.KilledBatchShown),
                202: Reply(bulk.OperationShown, "of more than 100 jobs: the operation that ends them", ("Location",)),
            },
            errors=(404, 409),
        ),
    ),
    Route(
        "POST",
        "/v1/batches/{id}/requeue",
        batches.requeue,
        "admin",
        Operation(
            tag="batches",
            body=Body(requests.BatchRequeueSchema, optional=True, example={"callbacks": True}),
            replies={200: _BATCH},
            errors=(404, 409),
        ),
    ),
)
