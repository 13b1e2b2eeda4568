"""The routes of queues."""

from __future__ import annotations

from typing import Final

from jobqueue.api import queues
from jobqueue.api.operations import Body, Operation, Reply, Route
from jobqueue.api.schemas import queries, requests, shown_more

_QUEUE: Final = Reply(shown_more.QueueConfigShown, "the configuration as it is now")

ROUTES: Final = (
    Route(
        "GET",
        "/v1/queues",
        queues.list_queues,
        "read",
        Operation(tag="queues", query=queries.NamesQuery, replies={200: Reply(shown_more.QueuePage)}),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}",
        queues.show,
        "read",
        Operation(tag="queues", replies={200: Reply(shown_more.QueueShown)}, has_etag=True),
    ),
    Route(
        "PUT",
        "/v1/queues/{queue}",
        queues.put,
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
        queues.patch,
        "admin",
        Operation(
            tag="queues",
            body=Body(requests.QueuePatchSchema, example={"concurrency": None}, media_types=queues.PATCHES),
            replies={200: _QUEUE},
            has_etag=True,
        ),
    ),
    Route(
        "DELETE",
        "/v1/queues/{queue}",
        queues.delete,
        "admin",
        Operation(
            tag="queues",
            query=queries.DeleteQueueQuery,
            replies={200: Reply(shown_more.DeletedQueueShown)},
            errors=(404, 409),
            has_etag=True,
        ),
    ),
    Route(
        "GET",
        "/v1/queues/{queue}/changes",
        queues.changes,
        "admin",
        Operation(tag="queues", query=queries.ChangesQuery, replies={200: Reply(shown_more.ChangePage)}),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/rotate-secret",
        queues.rotate_secret,
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
        queues.pause,
        "admin",
        Operation(tag="queues", replies={200: _QUEUE}, has_etag=True),
    ),
    Route(
        "POST",
        "/v1/queues/{queue}/resume",
        queues.resume,
        "admin",
        Operation(tag="queues", replies={200: _QUEUE}, has_etag=True),
    ),
)
