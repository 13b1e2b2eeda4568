"""The routes of queues."""

from __future__ import annotations

from typing import Final

from jobqueue.api.http.route_spec import Body, Operation, Reply, Route
from jobqueue.api.queues import handlers
from jobqueue.api.schemas import more_responses, queries, requests

_QUEUE: Final = Reply(more_responses.QueueConfigResponse, "the configuration as it is now")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/queues",
        handlers.list_queues,
        "read",
        Operation(tag="queues", query=queries.NamesQuery, replies={200: Reply(more_responses.QueuePage)}),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}",
        handlers.show,
        "read",
        Operation(tag="queues", replies={200: Reply(more_responses.QueueResponse)}, has_etag=True),
    ),
    Route(
        "PUT",
        "/v1/queues/{queue}",
        handlers.put,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.QueueSchema, example={"concurrency": 5, "rate": {"limit": 100, "per": 60}}),
            replies={200: _QUEUE},
            has_etag=True,
        ),
    ),
    Route(
        "PATCH",
        "/v1/queues/{queue}",
        handlers.patch,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.QueuePatchSchema, example={"concurrency": None}, media_types=handlers.PATCHES),
            replies={200: _QUEUE},
            has_etag=True,
        ),
    ),
    Route(
        "DELETE",
        "/v1/queues/{queue}",
        handlers.delete,
        "admin",
        Operation(
            tag="queues",
            query=queries.DeleteQueueQuery,
            replies={200: Reply(more_responses.DeletedQueueResponse)},
            errors=(404, 409),
            has_etag=True,
        ),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}/changes",
        handlers.changes,
        "admin",
        Operation(tag="queues", query=queries.ChangesQuery, replies={200: Reply(more_responses.ChangePage)}),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/rotate-secret",
        handlers.rotate_secret,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.RotateSchema, example={"type": "thumbnail"}),
            replies={200: _QUEUE},
            errors=(404, 409),
            has_etag=True,
        ),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/pause",
        handlers.pause,
        "admin",
        Operation(tag="queues", replies={200: _QUEUE}, has_etag=True),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/resume",
        handlers.resume,
        "admin",
        Operation(tag="queues", replies={200: _QUEUE}, has_etag=True),
    ),
)
