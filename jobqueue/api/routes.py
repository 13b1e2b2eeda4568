"""The one table of routes: method, path, handler, and the role a caller needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.api import batches, jobs, queues, schedules, system, work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from jobqueue.domain.access import Role


@dataclass(frozen=True, slots=True)
class Route:
    """One route; without a role it is open to everybody."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    role: Role | None


ROUTES: Final = (
    Route("GET", "/", system.index, None),
    Route("GET", "/healthz", system.healthz, None),
    Route("GET", "/readyz", system.readyz, None),
    Route("POST", "/v1/jobs", jobs.create, "enqueue"),
    Route("GET", "/v1/jobs", jobs.list_jobs, "read"),
    Route("POST", "/v1/jobs/bulk", jobs.create_many, "enqueue"),
    Route("GET", "/v1/jobs/{id}", jobs.show, "read"),
    Route("PATCH", "/v1/jobs/{id}", jobs.patch, "admin"),
    Route("DELETE", "/v1/jobs/{id}", jobs.delete, "admin"),
    Route("GET", "/v1/jobs/{id}/logs", jobs.logs, "read"),
    Route("GET", "/v1/jobs/{id}/family", jobs.family, "read"),
    Route("GET", "/v1/jobs/{id}/why", jobs.why, "read"),
    Route("POST", "/v1/jobs/{id}/requeue", jobs.requeue, "admin"),
    Route("POST", "/v1/jobs/{id}/kill", jobs.kill, "admin"),
    Route("POST", "/v1/jobs/{id}/heartbeat", work.heartbeat, "work"),
    Route("POST", "/v1/jobs/{id}/succeed", work.succeed, "work"),
    Route("POST", "/v1/jobs/{id}/fail", work.fail, "work"),
    Route("POST", "/v1/jobs/{id}/die", work.die, "work"),
    Route("POST", "/v1/jobs/{id}/retry", work.retry, "work"),
    Route("POST", "/v1/queues/{queue}/claim", work.claim, "work"),
    Route("POST", "/v1/batches", batches.create, "enqueue"),
    Route("GET", "/v1/batches", batches.list_batches, "read"),
    Route("GET", "/v1/batches/{id}", batches.show, "read"),
    Route("POST", "/v1/batches/{id}/jobs", batches.add_jobs, "enqueue"),
    Route("POST", "/v1/batches/{id}/seal", batches.seal, "enqueue"),
    Route("POST", "/v1/batches/{id}/kill", batches.kill, "admin"),
    Route("POST", "/v1/batches/{id}/requeue", batches.requeue, "admin"),
    Route("GET", "/v1/queues", queues.list_queues, "read"),
    Route("GET", "/v1/queues/{queue}", queues.show, "read"),
    Route("PUT", "/v1/queues/{queue}", queues.put, "admin"),
    Route("PATCH", "/v1/queues/{queue}", queues.patch, "admin"),
    Route("DELETE", "/v1/queues/{queue}", queues.delete, "admin"),
    Route("GET", "/v1/queues/{queue}/changes", queues.changes, "admin"),
    Route("POST", "/v1/queues/{queue}/rotate-secret", queues.rotate_secret, "admin"),
    Route("POST", "/v1/queues/{queue}/pause", queues.pause, "admin"),
    Route("POST", "/v1/queues/{queue}/resume", queues.resume, "admin"),
    Route("GET", "/v1/schedules", schedules.list_schedules, "read"),
    Route("GET", "/v1/schedules/{name}", schedules.show, "read"),
    Route("PUT", "/v1/schedules/{name}", schedules.put, "admin"),
    Route("DELETE", "/v1/schedules/{name}", schedules.delete, "admin"),
    Route("POST", "/v1/schedules/{name}/pause", schedules.pause, "admin"),
    Route("POST", "/v1/schedules/{name}/resume", schedules.resume, "admin"),
)
OPEN: Final = frozenset(route.path for route in ROUTES if route.role is None)
