"""The routes of jobs as a person sees them."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import MADE_BEFORE, NO_CONTENT, Body, Reply, Route, ok
from jobqueue.api.insight import events
from jobqueue.api.jobs import bundle, export, handlers, listing, logs, schemas
from jobqueue.api.schemas import requests, responses

_NEW: Final = {"type": "thumbnail", "queue": "media", "data": {"src": "a.png"}, "meta": {"user_id": 42}, "attempts": 5}
_SEARCH: Final = {
    "filter": {"meta.user_id": 42, "state": "failed", "insertAt": {"$gte": "2030-01-31T00:00:00Z"}},
    "sort": {"insertAt": -1},
    "fields": ["type", "data.src", "error.message"],
    "limit": 100,
}
_EXPORT: Final = {"filter": {"state": "failed"}, "format": "csv", "fields": ["id", "type", "error.message"]}
_PIPELINE: Final = [
    {"$match": {"queue": "media", "state": "failed"}},
    {"$group": {"_id": "$error.kind", "count": {"$sum": 1}, "last": {"$max": "$endAt"}}},
    {"$sort": {"count": -1}},
]
_CHANGED: Final = ok(responses.JobResponse, "the job as it is now")

_route: Final = partial(Route, tag="jobs")

ROUTES: Final = (
    _route(
        "POST",
        "/v1/jobs",
        handlers.create,
        "enqueue",
        {
            201: Reply(responses.JobResponse, "the new job", ("Location",)),
            200: Reply(responses.JobResponse, MADE_BEFORE),
        },
        body=Body(requests.NewJobSchema, _NEW),
        errors=(409,),
        headers=("Idempotency-Key",),
        operation="createJob",
    ),
    _route(
        "GET", "/v1/jobs", listing.list_jobs, "read", ok(schemas.JobPage), query=schemas.JobsQuery, operation="listJobs"
    ),
    _route(
        "GET",
        "/v1/jobs/suggestions",
        listing.suggest,
        "read",
        ok(schemas.SuggestionsResponse),
        query=schemas.SuggestionsQuery,
        operation="suggestValues",
    ),
    _route(
        "POST",
        "/v1/jobs/search",
        listing.search_jobs,
        "read",
        ok(schemas.JobPage),
        body=Body(schemas.SearchSchema, _SEARCH, optional=True),
        operation="searchJobs",
    ),
    _route(
        "POST",
        "/v1/jobs/export",
        export.export,
        "read",
        {200: Reply(text="lines of JSON, or CSV", media_type="application/x-ndjson")},
        body=Body(schemas.ExportSchema, _EXPORT, optional=True),
        operation="exportJobs",
    ),
    _route(
        "POST",
        "/v1/jobs/count",
        listing.count_jobs,
        "read",
        ok(schemas.CountResponse),
        body=Body(schemas.CountSchema, {"filter": {"state": "failed"}, "most": 10_000}, optional=True),
        operation="countJobs",
    ),
    _route(
        "POST",
        "/v1/jobs/aggregate",
        listing.aggregate,
        "read",
        ok(schemas.RowsResponse),
        body=Body(schemas.AggregateSchema, {"pipeline": _PIPELINE}),
        operation="aggregateJobs",
    ),
    _route(
        "POST",
        "/v1/jobs/bulk",
        handlers.create_many,
        "enqueue",
        {201: Reply(schemas.JobsResponse, "the new jobs"), 200: Reply(schemas.JobsResponse, MADE_BEFORE)},
        body=Body(schemas.BulkSchema, {"jobs": [_NEW]}),
        errors=(409,),
        headers=("Idempotency-Key",),
        operation="createJobs",
    ),
    _route(
        "GET",
        "/v1/jobs/{id}",
        events.show,
        "read",
        ok(responses.JobResponse),
        query=schemas.WaitQuery,
        errors=(404,),
        has_etag=True,
        operation="getJob",
    ),
    _route(
        "PATCH",
        "/v1/jobs/{id}",
        handlers.patch,
        "admin",
        _CHANGED,
        body=Body(schemas.PatchSchema, {"priority": 5}),
        errors=(404, 409),
        has_etag=True,
        operation="updateJob",
    ),
    _route(
        "DELETE",
        "/v1/jobs/{id}",
        handlers.delete,
        "admin",
        NO_CONTENT,
        errors=(404, 409),
        has_etag=True,
        operation="deleteJob",
    ),
    _route(
        "GET",
        "/v1/jobs/{id}/logs",
        logs.logs,
        "read",
        ok(schemas.LogPage),
        query=schemas.LogsQuery,
        errors=(404,),
        operation="listJobLogs",
    ),
    _route(
        "GET",
        "/v1/jobs/{id}/family",
        handlers.family,
        "read",
        ok(schemas.FamilyResponse),
        errors=(404,),
        operation="getJobFamily",
    ),
    _route(
        "GET",
        "/v1/jobs/{id}/bundle",
        bundle.bundle,
        "read",
        ok(bundle.BundleResponse),
        query=bundle.BundleQuery,
        errors=(404,),
        operation="bundleJob",
    ),
    _route(
        "GET", "/v1/jobs/{id}/why", handlers.why, "read", ok(schemas.WhyResponse), errors=(404,), operation="explainJob"
    ),
    _route(
        "POST",
        "/v1/jobs/{id}/requeue",
        handlers.requeue,
        "admin",
        _CHANGED,
        body=Body(requests.RequeueSchema, {"attempts": 3, "fromStep": "reserve"}, optional=True),
        errors=(404, 409),
        has_etag=True,
        operation="requeueJob",
    ),
    _route(
        "POST",
        "/v1/jobs/{id}/kill",
        handlers.kill,
        "admin",
        _CHANGED,
        body=Body(requests.KillSchema, {"reason": "not needed any more"}, optional=True),
        errors=(404, 409),
        has_etag=True,
        operation="killJob",
    ),
)
