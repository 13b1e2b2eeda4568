"""What is done to many jobs at once: begin it, look at it, stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.bulk import schemas
from jobqueue.api.http.json_body import read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.handlers import brief, path_id
from jobqueue.api.schemas import fields
from jobqueue.api.security.caller import actor, caller
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.services.jobs.job_changes import REQUEUE_CHANGES, requeue_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web
    from marshmallow import Schema

    from jobqueue.domain.bulk.operation import Operation

_MANY: Final = schemas.ManySchema()
_REQUEUE: Final = schemas.ManyRequeueSchema()
_KILL: Final = schemas.ManyKillSchema()


async def requeue_many(request: web.Request) -> web.Response:
    """Start all jobs anew that a filter finds."""
    return await _begin(request, Action.REQUEUE, _REQUEUE)


async def kill_many(request: web.Request) -> web.Response:
    """End all unfinished jobs that a filter finds."""
    return await _begin(request, Action.KILL, _KILL)


async def delete_many(request: web.Request) -> web.Response:
    """Delete all jobs that a filter finds and that are not processing."""
    return await _begin(request, Action.DELETE, _MANY)


async def list_operations(request: web.Request) -> web.Response:
    """List what is or was done to many jobs, newest first."""
    given = request[QUERY]
    found = await request.app[RUNTIME].operations.store.page(
        scope=caller(request).scope, state=given["state"], before=given["cursor"], limit=given["limit"] + 1
    )
    shown, more = found[: given["limit"]], len(found) > given["limit"]
    return reply({"items": [one.wire() for one in shown], "next": shown[-1].id if more else None})


async def show(request: web.Request) -> web.Response:
    """Return how far an operation has come."""
    found = await request.app[RUNTIME].operations.store.get(path_id(request), scope=caller(request).scope)
    return reply(found.wire())


async def stop(request: web.Request) -> web.Response:
    """Stop an operation; what it has done already stays."""
    operations = request.app[RUNTIME].operations
    return reply((await operations.store.stop(path_id(request), actor(request), scope=caller(request).scope)).wire())


def begun(operation: Operation) -> web.Response:
    """Answer with an operation that goes on."""
    return reply(operation.wire(), status=202, headers={"Location": f"/v1/operations/{operation.id}"})


async def begin(request: web.Request, new: NewOperation, *, dry_run: bool) -> web.Response:
    """Begin an operation, or only say what it would be about."""
    operations = request.app[RUNTIME].operations
    if not dry_run:
        return begun(await operations.create(new))
    matched, is_exact, samples = await operations.preview(new)
    found = {"matched": matched, "isExact": is_exact, "samples": [brief(job) for job in samples]}
    return reply({"action": new.action.value, **found})


def content(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a body what is to be changed about the jobs."""
    return {name: value for name, value in given.items() if name in REQUEUE_CHANGES}


async def _begin(request: web.Request, action: Action, schema: Schema) -> web.Response:
    given = fields.load(schema, await read_object(request))
    new = NewOperation(
        action=action,
        by=actor(request),
        filter=given.get("filter", {}),
        all=given.get("all", False),
        changes=requeue_changes(content(given)),
        reason=given.get("reason"),
        scope=caller(request).scope,
    )
    return await begin(request, new, dry_run=given.get("dry_run", False))
