"""The routes of queues."""

from __future__ import annotations

from functools import partial
from typing import Final

from jobqueue.api.http.route_spec import Body, Route, ok
from jobqueue.api.insight.schemas import ChangePage
from jobqueue.api.queues import handlers, schemas
from jobqueue.api.schemas.queries import NamesQuery

_QUEUE: Final = ok(schemas.QueueConfigResponse, "the configuration as it is now")

_route: Final = partial(Route, tag="queues")

ROUTES: Final = (
    _route(
        "GET",
        "/v1/queues",
        handlers.list_queues,
        "read",
        ok(schemas.QueuePage),
        query=NamesQuery,
        operation="listQueues",
    ),
    _route(
        "GET",
        "/v1/queues/{queue}",
        handlers.show,
        "read",
        ok(schemas.QueueResponse),
        has_etag=True,
        operation="getQueue",
    ),
    _route(
        "PUT",
        "/v1/queues/{queue}",
        handlers.put,
        "admin",
        _QUEUE,
        query=schemas.ChangeQueueQuery,
        body=Body(schemas.QueueSchema, {"concurrency": 5, "rate": {"limit": 100, "per": 60}}),
        has_etag=True,
        operation="putQueue",
    ),
    _route(
        "PATCH",
        "/v1/queues/{queue}",
        handlers.patch,
        "admin",
        _QUEUE,
        query=schemas.ChangeQueueQuery,
        body=Body(schemas.QueuePatchSchema, {"concurrency": None}, media_types=handlers.PATCHES),
        has_etag=True,
        operation="updateQueue",
    ),
    _route(
        "DELETE",
        "/v1/queues/{queue}",
        handlers.delete,
        "admin",
        ok(schemas.DeletedQueueResponse),
        query=schemas.DeleteQueueQuery,
        errors=(404, 409),
        has_etag=True,
        operation="deleteQueue",
    ),
    _route(
        "GET", "/v1/queues/{queue}/why", handlers.why, "read", ok(schemas.QueueWhyResponse), operation="explainQueue"
    ),
    _route(
        "GET",
        "/v1/queues/{queue}/groups",
        handlers.groups,
        "read",
        ok(schemas.QueueUseResponse),
        query=schemas.GroupsQuery,
        operation="listQueueGroups",
    ),
    _route(
        "GET",
        "/v1/queues/{queue}/changes",
        handlers.changes,
        "admin",
        ok(ChangePage),
        query=schemas.ChangesQuery,
        operation="listQueueChanges",
    ),
    _route(
        "POST",
        "/v1/queues/{queue}/rotate-secret",
        handlers.rotate_secret,
        "admin",
        _QUEUE,
        body=Body(schemas.RotateSchema, {"type": "thumbnail"}),
        errors=(404, 409),
        has_etag=True,
        operation="rotateQueueSecret",
    ),
    _route(
        "POST",
        "/v1/queues/{queue}/test-webhook",
        handlers.test_webhook,
        "admin",
        ok(schemas.WebhookTestResponse, "the answer of the receiver, or why there is none"),
        body=Body(schemas.TestWebhookSchema, {"type": "thumbnail"}),
        errors=(404,),
        operation="testQueueWebhook",
    ),
    _route(
        "POST",
        "/v1/queues/{queue}/pause",
        handlers.pause,
        "admin",
        _QUEUE,
        body=Body(schemas.PauseSchema, {"reason": "until the import is repaired"}, optional=True),
        has_etag=True,
        operation="pauseQueue",
    ),
    _route(
        "POST", "/v1/queues/{queue}/resume", handlers.resume, "admin", _QUEUE, has_etag=True, operation="resumeQueue"
    ),
)
