"""The routes of jobs as a person sees them."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import MADE_BEFORE, NO_CONTENT, Body, Reply, Route, ok
from jobqueue.api.insight import events
from jobqueue.api.jobs import handlers, listing, logs, schemas
from jobqueue.api.schemas import requests, responses

_NEW: Final = {"type": "thumbnail", "queue": "media", "data": {"src": "a.png"}, "meta": {"user_id": 42}, "attempts": 5}
_SEARCH: Final = {
    "filter": {"meta.user_id": 42, "state": "failed", "insertAt": {"$gte": "2030-01-31T00:00:00Z"}},
    "sort": {"insertAt": -1},
    "fields": ["type", "data.src", "error.message"],
    "limit": 100,
}
_PIPELINE: Final = [
    {"$match": {"queue": "media", "state": "failed"}},
    {"$group": {"_id": "$error.kind", "count": {"$sum": 1}, "last": {"$max": "$endAt"}}},
    {"$sort": {"count": -1}},
]
_CHANGED: Final = ok(responses.JobResponse, "the job as it is now")

ROUTES: Final = (
    Route(
        "POST",
        "/v1/jobs",
        handlers.create,
        "enqueue",
        tag="jobs",
        body=Body(requests.NewJobSchema, _NEW),
        replies={
            201: Reply(responses.JobResponse, "the new job", ("Location",)),
            200: Reply(responses.JobResponse, MADE_BEFORE),
        },
        errors=(409,),
        headers=("Idempotency-Key",),
    ),
    Route(
        "GET", "/v1/jobs", listing.list_jobs, "read", tag="jobs", query=schemas.JobsQuery, replies=ok(schemas.JobPage)
    ),
    Route(
        "POST",
        "/v1/jobs/search",
        listing.search_jobs,
        "read",
        tag="jobs",
        body=Body(schemas.SearchSchema, _SEARCH, optional=True),
        replies=ok(schemas.JobPage),
    ),
    Route(
        "POST",
        "/v1/jobs/aggregate",
        listing.aggregate,
        "read",
        tag="jobs",
        body=Body(schemas.AggregateSchema, {"pipeline": _PIPELINE}),
        replies=ok(schemas.RowsResponse),
    ),
    Route(
        "POST",
        "/v1/jobs/bulk",
        handlers.create_many,
        "enqueue",
        tag="jobs",
        body=Body(schemas.BulkSchema, {"jobs": [_NEW]}),
        replies={201: Reply(schemas.JobsResponse, "the new jobs"), 200: Reply(schemas.JobsResponse, MADE_BEFORE)},
        errors=(409,),
        headers=("Idempotency-Key",),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}",
        events.show,
        "read",
        tag="jobs",
        query=schemas.WaitQuery,
        replies=ok(responses.JobResponse),
        errors=(404,),
        has_etag=True,
    ),
    Route(
        "PATCH",
        "/v1/jobs/{id}",
        handlers.patch,
        "admin",
        tag="jobs",
        body=Body(schemas.PatchSchema, {"priority": 5}),
        replies=_CHANGED,
        errors=(404, 409),
        has_etag=True,
    ),
    Route(
        "DELETE",
        "/v1/jobs/{id}",
        handlers.delete,
        "admin",
        tag="jobs",
        replies=NO_CONTENT,
        errors=(404, 409),
        has_etag=True,
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/logs",
        logs.logs,
        "read",
        tag="jobs",
        query=schemas.LogsQuery,
        replies=ok(schemas.LogPage),
        errors=(404,),
    ),
    Route(
        "GET",
        "/v1/jobs/{id}/family",
        handlers.family,
        "read",
        tag="jobs",
        replies=ok(schemas.FamilyResponse),
        errors=(404,),
    ),
    Route("GET", "/v1/jobs/{id}/why", handlers.why, "read", tag="jobs", replies=ok(schemas.WhyResponse), errors=(404,)),
    Route(
        "POST",
        "/v1/jobs/{id}/requeue",
        handlers.requeue,
        "admin",
        tag="jobs",
        body=Body(requests.ContentSchema, {"attempts": 3}, optional=True),
        replies=_CHANGED,
        errors=(404, 409),
        has_etag=True,
    ),
    Route(
        "POST",
        "/v1/jobs/{id}/kill",
        handlers.kill,
        "admin",
        tag="jobs",
        body=Body(requests.KillSchema, {"reason": "not needed any more"}, optional=True),
        replies=_CHANGED,
        errors=(404, 409),
        has_etag=True,
    ),
)
