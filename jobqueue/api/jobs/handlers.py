"""Jobs as a person sees them: add, show, change, requeue, kill and delete them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from jobqueue.api.http.json_body import read_body, read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.preconditions import etag, preconditions
from jobqueue.api.jobs.idempotency_key import keyed_request
from jobqueue.api.jobs.new_jobs import JobReader, new_job
from jobqueue.api.jobs.schemas import BulkSchema, PatchSchema, WhyResponse
from jobqueue.api.schemas.fields import load
from jobqueue.api.schemas.requests import KillSchema, RequeueSchema
from jobqueue.api.schemas.responses import BriefResponse
from jobqueue.api.security.caller import actor, admitted, caller, check_made, shown
from jobqueue.domain.errors import InvalidInputError, NotFoundError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.step import UNFORGOTTEN
from jobqueue.domain.values.checks import check_id
from jobqueue.services.jobs.job_tags import tag
from jobqueue.services.jobs.producer import MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.services.jobs.manage import Family, Relative

_READ_AT_ONCE: Final = 100
_DEEPEST_TREE: Final = 50


async def create(request: web.Request) -> web.Response:
    """Add a job; a repeated request with the same ``Idempotency-Key`` adds nothing."""
    body = await read_object(request)
    keyed = await keyed_request(request, body)
    [new] = await admitted(request, [new_job(body)])
    runtime = request.app[RUNTIME]
    if keyed is None:
        return _created(request, await runtime.producer.add(new))
    job, is_new = await runtime.idempotency.add(keyed, new)
    await check_made(request, [] if is_new else [job.id])
    return _created(request, job) if is_new else reply(shown(request, job))


async def create_many(request: web.Request) -> web.Response:
    """Add up to 1,000 jobs, all or none; a repeated request with the same ``Idempotency-Key`` adds nothing."""
    body = await read_object(request)
    keyed = await keyed_request(request, body)
    new = await admitted(request, await _read_many(load(BulkSchema, body)["jobs"]))
    runtime = request.app[RUNTIME]
    is_new = True
    if keyed is None:
        jobs = await runtime.producer.add_all(new)
    else:
        jobs, is_new = await runtime.idempotency.add_all(keyed, new)
        await check_made(request, [] if is_new else [job.id for job in jobs])
    return reply({"items": [shown(request, job) for job in jobs]}, status=201 if is_new else 200)


async def patch(request: web.Request) -> web.Response:
    """Change fields of a job that is not processing."""
    job_id = path_id(request)
    changes = await read_body(request, PatchSchema)
    if not changes:
        raise InvalidInputError({"body": ["must have at least one field to change"]})
    if "meta" in changes and not caller(request).scope.is_everything:
        changes["meta"] = caller(request).scope.fill(changes["meta"])
    manager, only = request.app[RUNTIME].manager, preconditions(request)
    return _changed(request, await manager.patch(job_id, changes, by=actor(request), only=only))


async def delete(request: web.Request) -> web.Response:
    """Delete a job that is not processing."""
    manager = request.app[RUNTIME].manager
    await manager.delete(path_id(request), by=actor(request), only=preconditions(request))
    return web.Response(status=204)


async def family(request: web.Request) -> web.Response:
    """Return the ancestors, descendants and batch of a job."""
    relatives = await request.app[RUNTIME].manager.family(path_id(request))
    return reply(_family(relatives, caller(request).scope))


async def parent(request: web.Request) -> web.Response:
    """Return a job that another job depended on, with its result, whatever the size of all results together."""
    runtime, scope = request.app[RUNTIME], caller(request).scope
    job, parent_id = await runtime.jobs.lean(path_id(request)), check_id(request.match_info["parent"], "parent")
    if scope.meta and not await runtime.scope_checks.has_job(parent_id, scope):
        raise NotFoundError("job", parent_id)
    return reply(json_form.value(await runtime.dependencies.parent(job, parent_id)))


async def why(request: web.Request) -> web.Response:
    """Return the reasons why a job is not running, in the order in which they apply."""
    return reply(WhyResponse.of(await request.app[RUNTIME].explainer.why(path_id(request), caller(request).scope)))


async def requeue(request: web.Request) -> web.Response:
    """Requeue an ended or delayed job, possibly from a certain step, or with other data, attempts or priority."""
    job_id = path_id(request)
    changes = await read_body(request, RequeueSchema, optional=True)
    from_step = changes.pop("from_step", UNFORGOTTEN)
    manager, by, only = request.app[RUNTIME].manager, actor(request), preconditions(request)
    return _changed(request, await manager.requeue(job_id, changes, from_step=from_step, by=by, only=only))


async def kill(request: web.Request) -> web.Response:
    """Kill an unfinished job; the heartbeat tells the worker of a running job."""
    job_id = path_id(request)
    body = await read_body(request, KillSchema, optional=True)
    manager, only = request.app[RUNTIME].manager, preconditions(request)
    return _changed(request, await manager.kill(job_id, **body, by=actor(request), only=only))


def path_id(request: web.Request) -> str:
    """Return the job id in the path.

    Raises:
        InvalidInputError: the id is not 24 hex digits.
    """
    return check_id(request.match_info["id"])


async def _read_many(items: list[Any]) -> list[NewJob]:
    if not 1 <= len(items) <= MOST_AT_ONCE:
        raise InvalidInputError({"jobs": [f"takes 1 to {MOST_AT_ONCE:,} jobs"]})
    reader = JobReader()
    jobs = []
    for index, item in enumerate(items):
        jobs.append(reader.read(item, f"jobs.{index}"))
        if index % _READ_AT_ONCE == 0:
            # Other requests have their turn.
            await asyncio.sleep(0)
    reader.check()
    return [job for job in jobs if job is not None]


def _created(request: web.Request, job: Job) -> web.Response:
    return reply(shown(request, job), status=201, headers={"Location": f"/v1/jobs/{job.id}"})


def _changed(request: web.Request, job: Job) -> web.Response:
    return reply(shown(request, job), headers=etag(tag(job)))


def _family(relatives: Family, scope: Scope) -> dict[str, Any]:
    cut: list[str] = []
    tree = _tree(relatives.tree, _DEEPEST_TREE, cut, scope)
    batch = None if relatives.batch is None else {"id": relatives.tree.job.batch_id, "counts": dict(relatives.batch)}
    return {
        "ancestors": BriefResponse.many(job for job in relatives.ancestors if scope.has(job)),
        "job": tree,
        "batch": batch if scope.is_everything else None,
        "truncated": relatives.truncated or bool(cut),
    }


def _tree(relative: Relative, room: int, cut: list[str], scope: Scope) -> Mapping[str, Any]:
    if room == 0 and relative.children:
        cut.append(relative.job.id)
    children = [child for child in relative.children if scope.has(child.job)] if room else []
    form = BriefResponse.of(relative.job)
    return form | {"children": [_tree(child, room - 1, cut, scope) for child in children]}
