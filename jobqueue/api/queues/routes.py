"""The routes of queues."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Body, Route, ok
from jobqueue.api.insight.schemas import ChangePage
from jobqueue.api.queues import handlers, schemas
from jobqueue.api.schemas.queries import NamesQuery

_QUEUE: Final = ok(schemas.QueueConfigResponse, "the configuration as it is now")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/queues",
        handlers.list_queues,
        "read",
        tag="queues",
        query=NamesQuery,
        replies=ok(schemas.QueuePage),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}",
        handlers.show,
        "read",
        tag="queues",
        replies=ok(schemas.QueueResponse),
        has_etag=True,
    ),
    Route(
        "PUT",
        "/v1/queues/{queue}",
        handlers.put,
        "admin",
        tag="queues",
        body=Body(schemas.QueueSchema, {"concurrency": 5, "rate": {"limit": 100, "per": 60}}),
        replies=_QUEUE,
        has_etag=True,
    ),
    Route(
        "PATCH",
        "/v1/queues/{queue}",
        handlers.patch,
        "admin",
        tag="queues",
        body=Body(schemas.QueuePatchSchema, {"concurrency": None}, media_types=handlers.PATCHES),
        replies=_QUEUE,
        has_etag=True,
    ),
    Route(
        "DELETE",
        "/v1/queues/{queue}",
        handlers.delete,
        "admin",
        tag="queues",
        query=schemas.DeleteQueueQuery,
        replies=ok(schemas.DeletedQueueResponse),
        errors=(404, 409),
        has_etag=True,
    ),
    Route(
        "GET",
        "/v1/queues/{queue}/changes",
        handlers.changes,
        "admin",
        tag="queues",
        query=schemas.ChangesQuery,
        replies=ok(ChangePage),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/rotate-secret",
        handlers.rotate_secret,
        "admin",
        tag="queues",
        body=Body(schemas.RotateSchema, {"type": "thumbnail"}),
        replies=_QUEUE,
        errors=(404, 409),
        has_etag=True,
    ),
    Route("POST", "/v1/queues/{queue}/pause", handlers.pause, "admin", tag="queues", replies=_QUEUE, has_etag=True),
    Route("POST", "/v1/queues/{queue}/resume", handlers.resume, "admin", tag="queues", replies=_QUEUE, has_etag=True),
)
