"""The routes of jobs as a person sees them."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import MADE_BEFORE, Body, Operation, Reply, Route
from jobqueue.api.insight import events
from jobqueue.api.jobs import handlers, listing, log_schemas, logs
from jobqueue.api.jobs.search_schemas import AggregateSchema, RowsResponse, SearchSchema
from jobqueue.api.schemas import queries, requests, responses

_NEW: Final = {"type": "thumbnail", "queue": "media", "data": {"src": "a.png"}, "meta": {"user_id": 42}, "attempts": 5}
_FOUND: Final = {
    "filter": {"meta.user_id": 42, "state": "failed", "insertAt": {"$gte": "2030-01-31T00:00:00Z"}},
    "sort": {"insertAt": -1},
    "fields": ["type", "data.src", "error.message"],
    "limit": 100,
}
_MADE: Final = [
    {"$match": {"queue": "media", "state": "failed"}},
    {"$group": {"_id": "$error.kind", "count": {"$sum": 1}, "last": {"$max": "$endAt"}}},
    {"$sort": {"count": -1}},
]
_TAKEN: Final = Reply(responses.JobResponse, "the job as it is now")
_NOTHING: Final = Reply(text="done")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/jobs",
        handlers.create,
        "enqueue",
        Operation(
            tag="jobs",
            body=Body(requests.NewJobSchema, example=_NEW),
            replies={
                201: Reply(responses.JobResponse, "the new job", ("Location",)),
                200: Reply(responses.JobResponse, MADE_BEFORE),
            },
            errors=(409,),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "GET",
        "/v1/jobs",
        listing.list_jobs,
        "read",
        Operation(tag="jobs", query=queries.JobsQuery, replies={200: Reply(responses.JobPage)}),
    ),
    Route(
        "POST",
        "/v1/jobs/search",
        listing.search_jobs,
        "read",
        Operation(
            tag="jobs",
            body=Body(SearchSchema, optional=True, example=_FOUND),
            replies={200: Reply(responses.JobPage)},
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/aggregate",
        listing.aggregate,
        "read",
        Operation(
            tag="jobs",
            body=Body(AggregateSchema, example={"pipeline": _MADE}),
            replies={200: Reply(RowsResponse)},
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/bulk",
        handlers.create_many,
        "enqueue",
        Operation(
            tag="jobs",
            body=Body(requests.BulkSchema, example={"jobs": [_NEW]}),
            replies={
                201: Reply(responses.JobsResponse, "the new jobs"),
                200: Reply(responses.JobsResponse, MADE_BEFORE),
            },
            errors=(409,),
            headers=("Idempotency-Key",),
        ),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}",
        events.show,
        "read",
        Operation(
            tag="jobs",
            query=queries.WaitQuery,
            replies={
                200: Reply(responses.JobResponse),
            },
            errors=(404,),
            has_etag=True,
        ),
    ),
    Route(
        "PATCH",
        "/v1/jobs/{id}",
        handlers.patch,
        "admin",
        Operation(
            tag="jobs",
            body=Body(requests.PatchSchema, example={"priority": 5}),
            replies={200: _TAKEN},
            errors=(404, 409),
            has_etag=True,
        ),
    ),
    Route(
        "DELETE",
        "/v1/jobs/{id}",
        handlers.delete,
        "admin",
        Operation(tag="jobs", replies={204: _NOTHING}, errors=(404, 409), has_etag=True),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/logs",
        logs.logs,
        "read",
        Operation(tag="jobs", query=log_schemas.LogsQuery, replies={200: Reply(log_schemas.LogPage)}, errors=(404,)),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/family",
        handlers.family,
        "read",
        Operation(tag="jobs", replies={200: Reply(responses.FamilyResponse)}, errors=(404,)),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/why",
        handlers.why,
        "read",
        Operation(tag="jobs", replies={200: Reply(responses.WhyResponse)}, errors=(404,)),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/requeue",
        handlers.requeue,
        "admin",
        Operation(
            tag="jobs",
            body=Body(requests.ContentSchema, optional=True, example={"attempts": 3}),
            replies={200: _TAKEN},
            errors=(404, 409),
            has_etag=True,
        ),
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/kill",
        handlers.kill,
        "admin",
        Operation(
            tag="jobs",
            body=Body(requests.KillSchema, optional=True, example={"reason": "not needed any more"}),
            replies={200: _TAKEN},
            errors=(404, 409),
            has_etag=True,
        ),
    ),
)
