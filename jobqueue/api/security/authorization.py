"""Authorization of a route: the role of the caller, and the scope of the subject in the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from jobqueue.api.http.keys import CALLER, QUERY, RUNTIME
from jobqueue.api.http.preconditions import refuse_conditions
from jobqueue.api.schemas import queries
from jobqueue.domain.errors import ForbiddenError, NotFoundError
from jobqueue.domain.values.checks import check_id, check_queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from jobqueue.api.http.route_spec import Route
    from jobqueue.domain.access.access import Scope

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SHARED: Final = (
    "/v1/queues",
    "/v1/schedules",
    "/v1/alerts",
    "/v1/audit",
    "/v1/stats",
    "/v1/tokens",
    "/v1/erase",
    "/metrics",
)
"""Paths about whole queues, or about everything."""
_BY_KEY: Final = "/v1/queues/{queue}/keys/{key}"
"""The beginning of paths about one job, which their handlers check."""
_PREVIEW: Final = "/v1/schedules/{name}/preview"
"""The path of a schedule that need not be there."""
_GLOBAL: Final = ("/v1/alerts", "/v1/audit", "/metrics", "/v1/tokens", "/v1/erase")


def guarded(route: Route) -> Handler:
    """Return a route's handler behind the check of role and scope; the query string is read before the handler runs."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.role is not None:
            caller = request[CALLER]
            roles = [role for role in (route.role, route.or_role) if role is not None]
            if not any(caller.may(role) for role in roles):
                raise ForbiddenError(f"this needs the role {' or '.join(roles)}")
            if not caller.scope.is_everything:
                await _check_scope(request, route.path, caller.scope)
            request[QUERY] = queries.load(route.query, request.query)
            if route.refuses_conditions:
                refuse_conditions(request)
        return await route.handler(request)

    return handle


async def _check_scope(request: web.Request, path: str, scope: Scope) -> None:
    """Refuse a subject outside of the caller's scope.

    Raises:
        NotFoundError: the subject of the path is outside.
        ForbiddenError: the subject is whole queues, and the scope is limited to a value of meta.
    """
    if scope.meta and path.startswith(_SHARED) and not path.startswith(_BY_KEY):
        raise ForbiddenError("this is about whole queues, and the token is limited to a value of meta")
    if path.startswith(_GLOBAL) and not scope.is_everything:
        raise ForbiddenError("this is about all queues, and the token is limited to some")
    for prefix, check in _CHECKS.items():
        if path.startswith(prefix):
            await check(request, scope)


async def _check_job(request: web.Request, scope: Scope) -> None:
    runtime, job_id = request.app[RUNTIME], check_id(request.match_info["id"])
    # A worker that polls reports on jobs that this process has handed out: their queue is known, their meta is not.
    queue = None if scope.meta else runtime.work.handed_out.queue_of(job_id)
    if queue is not None and scope.has_queue(queue):
        return
    if not await runtime.scope_checks.has_job(job_id, scope):
        raise NotFoundError("job", job_id)


async def _check_batch(request: web.Request, scope: Scope) -> None:
    batch_id = check_id(request.match_info["id"])
    if not await request.app[RUNTIME].scope_checks.has_batch(batch_id, scope):
        raise NotFoundError("batch", batch_id)


async def _check_queue(request: web.Request, scope: Scope) -> None:
    queue = check_queue(request.match_info["queue"])
    if not scope.has_queue(queue):
        raise NotFoundError("queue", queue)


async def _check_schedule(request: web.Request, scope: Scope) -> None:
    name = check_queue(request.match_info["name"], "schedule")
    # PUT may create a schedule: its handler checks the present one.
    if request.method == hdrs.METH_PUT or await request.app[RUNTIME].scope_checks.has_schedule(name, scope):
        return
    resource = request.match_info.route.resource
    is_preview = resource is not None and resource.canonical == _PREVIEW
    if not is_preview or await request.app[RUNTIME].schedules.store.find(name) is not None:
        raise NotFoundError("schedule", name)


_CHECKS: Final[Mapping[str, Callable[[web.Request, Scope], Awaitable[None]]]] = {
    "/v1/jobs/{id}": _check_job,
    "/v1/batches/{id}": _check_batch,
    "/v1/queues/{queue}": _check_queue,
    "/v1/schedules/{name}": _check_schedule,
}
"""Checks of the subject's scope by the beginning of a path."""
