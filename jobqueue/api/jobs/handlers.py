"""Jobs as a person sees them: add, list, look at, change, requeue, kill and delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from jobqueue.api.http.json_body import read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.preconditions import etag, preconditions
from jobqueue.api.jobs.idempotency_key import once
from jobqueue.api.jobs.new_jobs import JobReader, new_job
from jobqueue.api.schemas import fields, requests
from jobqueue.api.security.caller import actor, admitted, caller, check_made, shown
from jobqueue.domain.errors import InvalidInputError, NotFoundError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import check_id
from jobqueue.services.jobs.job_tags import tag
from jobqueue.services.jobs.producer import MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.services.jobs.manage import Family, Relative

_READ_AT_ONCE: Final = 100
_DEEPEST_TREE: Final = 50
_BRIEF: Final = ("id", "type", "queue", "state", "progress", "insertAt", "startAt", "endAt", "parentId", "error")
_BULK: Final = requests.BulkSchema()
_PATCH: Final = requests.PatchSchema()
_REQUEUE: Final = requests.ContentSchema()
_KILL: Final = requests.KillSchema()


async def create(request: web.Request) -> web.Response:
    """Add a job; with an ``Idempotency-Key`` it is added once however often this is asked."""
    given = await read_object(request)
    asked = await once(request, given)
    [new] = await admitted(request, [new_job(given)])
    runtime = request.app[RUNTIME]
    if asked is None:
        return _created(request, await runtime.producer.add(new))
    job, fresh = await runtime.idempotency.add(asked, new)
    await check_made(request, [] if fresh else [job.id])
    return _created(request, job) if fresh else reply(shown(request, job))


async def create_many(request: web.Request) -> web.Response:
    """Add up to 1,000 jobs, all or none; with an ``Idempotency-Key`` once however often this is asked."""
    given = await read_object(request)
    asked = await once(request, given)
    new = await admitted(request, await _read_many(fields.load(_BULK, given)["jobs"]))
    runtime = request.app[RUNTIME]
    fresh = True
    if asked is None:
        jobs = await runtime.producer.add_all(new)
    else:
        jobs, fresh = await runtime.idempotency.add_all(asked, new)
        await check_made(request, [] if fresh else [job.id for job in jobs])
    return reply({"items": [shown(request, job) for job in jobs]}, status=201 if fresh else 200)


async def patch(request: web.Request) -> web.Response:
    """Change fields of a job that is not processing."""
    job_id = path_id(request)
    changes = fields.load(_PATCH, await read_object(request))
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
    found = await request.app[RUNTIME].manager.family(path_id(request))
    return reply(_family(found, caller(request).scope))


async def parent(request: web.Request) -> web.Response:
    """Return a job that this one depended on, with its result, however large all results are together."""
    runtime, scope = request.app[RUNTIME], caller(request).scope
    job, parent_id = await runtime.jobs.lean(path_id(request)), check_id(request.match_info["parent"], "parent")
    if scope.meta and not await runtime.scope_checks.has_job(parent_id, scope):
        raise NotFoundError("job", parent_id)
    return reply(json_form.value(await runtime.dependencies.parent(job, parent_id)))


async def why(request: web.Request) -> web.Response:
    """Return why a job is not running, in the order in which things stand in its way."""
    return reply((await request.app[RUNTIME].explainer.why(path_id(request), caller(request).scope)).wire())


async def requeue(request: web.Request) -> web.Response:
    """Start an ended or delayed job anew, possibly with other data, attempts, backoff or priority."""
    job_id = path_id(request)
    changes = fields.load(_REQUEUE, await read_object(request, optional=True))
    manager, only = request.app[RUNTIME].manager, preconditions(request)
    return _changed(request, await manager.requeue(job_id, changes, by=actor(request), only=only))


async def kill(request: web.Request) -> web.Response:
    """End an unfinished job; one that runs is told through its heartbeat."""
    job_id = path_id(request)
    given = fields.load(_KILL, await read_object(request, optional=True))
    manager, only = request.app[RUNTIME].manager, preconditions(request)
    return _changed(request, await manager.kill(job_id, **given, by=actor(request), only=only))


def path_id(request: web.Request) -> str:
    """Return the job id in the path.

    Raises:
        InvalidInputError: it is not 24 hex digits.
    """
    return check_id(request.match_info["id"])


async def _read_many(given: list[Any]) -> list[NewJob]:
    if not 1 <= len(given) <= MOST_AT_ONCE:
        raise InvalidInputError({"jobs": [f"takes 1 to {MOST_AT_ONCE:,} jobs"]})
    reader = JobReader()
    made = []
    for index, one in enumerate(given):
        made.append(reader.read(one, f"jobs.{index}"))
        if index % _READ_AT_ONCE == 0:
            # Other requests have their turn.
            await asyncio.sleep(0)
    reader.check()
    return [one for one in made if one is not None]


def _created(request: web.Request, job: Job) -> web.Response:
    return reply(shown(request, job), status=201, headers={"Location": f"/v1/jobs/{job.id}"})


def _changed(request: web.Request, job: Job) -> web.Response:
    return reply(shown(request, job), headers=etag(tag(job)))


def _family(found: Family, scope: Scope) -> dict[str, Any]:
    cut: list[str] = []
    tree = _tree(found.tree, _DEEPEST_TREE, cut, scope)
    batch = None if found.batch is None else {"id": found.tree.job.batch_id, "counts": dict(found.batch)}
    return {
        "ancestors": [brief(job) for job in found.ancestors if scope.has(job)],
        "job": tree,
        "batch": batch if scope.is_everything else None,
        "truncated": found.truncated or bool(cut),
    }


def _tree(relative: Relative, room: int, cut: list[str], scope: Scope) -> Mapping[str, Any]:
    if room == 0 and relative.children:
        cut.append(relative.job.id)
    children = [child for child in relative.children if scope.has(child.job)] if room else []
    return {**brief(relative.job), "children": [_tree(child, room - 1, cut, scope) for child in children]}


def brief(job: Job) -> dict[str, Any]:
    """Return a job as JSON, without what can be large."""
    shown = json_form.job(job)
    return {name: shown[name] for name in _BRIEF}
