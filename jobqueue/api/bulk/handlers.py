"""Operations on many jobs: begin, list, show and stop them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.api.bulk import schemas
from jobqueue.api.bulk.schemas import OperationResponse
from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import page_reply, reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.schemas.responses import BriefResponse
from jobqueue.api.security.caller import actor, caller
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.bulk.rules import Rules
from jobqueue.domain.steps.step import UNFORGOTTEN
from jobqueue.services.jobs.job_changes import REQUEUE_CHANGES, requeue_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from jobqueue.domain.bulk.operation import Operation


async def requeue_many(request: web.Request) -> web.Response:
    """Requeue all jobs that a filter finds."""
    return await _begin(request, Action.REQUEUE, schemas.ManyRequeueSchema)


async def kill_many(request: web.Request) -> web.Response:
    """Kill all unfinished jobs that a filter finds."""
    return await _begin(request, Action.KILL, schemas.ManyKillSchema)


async def delete_many(request: web.Request) -> web.Response:
    """Delete all jobs that a filter finds and that are not processing."""
    return await _begin(request, Action.DELETE, schemas.ManySchema)


async def list_operations(request: web.Request) -> web.Response:
    """List operations, newest first."""
    query, most = request[QUERY], request[QUERY]["limit"]
    operations = await request.app[RUNTIME].operations.store.page(
        scope=caller(request).scope, state=query["state"], before=query["cursor"], limit=most + 1
    )
    return page_reply(operations, most, OperationResponse.of, lambda operation: operation.id)


async def show(request: web.Request) -> web.Response:
    """Return an operation and its progress."""
    operation = await request.app[RUNTIME].operations.store.get(path_id(request), scope=caller(request).scope)
    return reply(OperationResponse.of(operation))


async def stop(request: web.Request) -> web.Response:
    """Stop an operation; changes already made stay."""
    operations = request.app[RUNTIME].operations
    stopped = await operations.store.stop(path_id(request), actor(request), scope=caller(request).scope)
    return reply(OperationResponse.of(stopped))


async def resume(request: web.Request) -> web.Response:
    """Go on with a stopped operation, possibly with other rules."""
    operations, scope = request.app[RUNTIME].operations, caller(request).scope
    stopped = await operations.store.get(path_id(request), scope)
    body = await read_body(request, schemas.RulesSchema, optional=True)
    resumed = await operations.resume(stopped.id, body, actor(request), scope=scope)
    return reply(OperationResponse.of(resumed))


def begun(operation: Operation) -> web.Response:
    """Return the reply with an operation that goes on."""
    location = {"Location": f"/v1/operations/{operation.id}"}
    return reply(OperationResponse.of(operation), status=202, headers=location)


async def begin(request: web.Request, new: NewOperation, *, dry_run: bool) -> web.Response:
    """Begin an operation, or only preview its jobs."""
    operations = request.app[RUNTIME].operations
    if not dry_run:
        return begun(await operations.create(new))
    matched, is_exact, samples = await operations.preview(new)
    preview: dict[str, Any] = {"matched": matched, "isExact": is_exact, "samples": BriefResponse.many(samples)}
    if new.data_patch is not None:
        preview["dataSamples"] = schemas.DataPreviewResponse.many(await operations.preview_data(new, samples))
    return reply({"action": new.action.value, **preview})


def content(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a body that change jobs."""
    return {name: value for name, value in body.items() if name in REQUEUE_CHANGES}


async def _begin(request: web.Request, action: Action, schema: type[schemas.ManySchema]) -> web.Response:
    body = await read_body(request, schema)
    new = NewOperation(
        action=action,
        by=actor(request),
        filter=body.get("filter", {}),
        all=body.get("all", False),
        changes=requeue_changes(content(body)),
        reason=body.get("reason"),
        scope=caller(request).scope,
        from_step=body.get("from_step", UNFORGOTTEN),
        data_patch=body.get("data_patch"),
        rules=Rules.of(body),
    )
    return await begin(request, new, dry_run=body.get("dry_run", False))
