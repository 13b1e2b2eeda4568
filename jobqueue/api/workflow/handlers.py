"""Batches: create, show, seal, kill and requeue them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.bulk.handlers import begun
from jobqueue.api.http.json_body import MOST_BATCH_BODY, read_body, read_object
from jobqueue.api.http.json_reply import page_reply, reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.idempotency_key import keyed_request
from jobqueue.api.jobs.new_jobs import JobReader
from jobqueue.api.schemas.fields import sift
from jobqueue.api.schemas.queries import NO_CURSOR
from jobqueue.api.schemas.requests import KillSchema
from jobqueue.api.security.caller import actor, admitted_group, admitted_members, caller, check_made
from jobqueue.api.workflow import schemas
from jobqueue.api.workflow.schemas import BatchResponse
from jobqueue.domain.bulk.operation import Operation
from jobqueue.domain.errors import InvalidInputError, NotFoundError, Problems
from jobqueue.domain.jobs.job import MOST_DEPENDENCIES, check_content
from jobqueue.domain.values.checks import gather
from jobqueue.domain.workflow.batch import MOST_MEMBERS, BatchCursor, Member, NewBatch, is_ref
from jobqueue.domain.workflow.batch_query import BatchQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from jobqueue.domain.jobs.short_ids import ShortId

MOST_READ: Final = 2 * MOST_MEMBERS
"""Jobs in one request, children included."""
_OWN: Final = frozenset({"ref", "dependsOn", "blocks"})
_EVENTS: Final = {"on_complete": "onComplete", "on_success": "onSuccess", "on_failure": "onFailure"}


async def create(request: web.Request) -> web.Response:
    """Create a batch and its first jobs, all or none; the batch is sealed unless ``sealed`` is false."""
    body = await read_object(request, most=MOST_BATCH_BODY)
    keyed = await keyed_request(request, body)
    values, problems = sift(schemas.BatchSchema, body)
    reader = JobReader(MOST_READ)
    members = _members(values.get("jobs", []), reader, problems)
    for name, field in _EVENTS.items():
        if values.get(name) is not None:
            values[name] = reader.group(values[name], field)
    meta: dict[str, Any] = values.get("meta", {})
    gather(problems, check_content, meta, "meta")
    reader.check(problems)
    new = NewBatch(
        members=await admitted_members(request, members),
        meta=caller(request).scope.fill(meta),
        sealed=values.get("sealed", True),
        queues=caller(request).scope.queues,
        **{name: await admitted_group(request, values.get(name)) for name in _EVENTS},
    )
    runtime = request.app[RUNTIME]
    is_new = True
    if keyed is None:
        view, added = await runtime.batches.create(new)
    else:
        (view, added), is_new = await runtime.idempotency.create_batch(keyed, new)
        await check_made(request, [] if is_new else [job.id for job in added])
    form = BatchResponse.of(view) | {"jobs": schemas.AddedResponse.many(added)}
    return reply(form, status=201 if is_new else 200, headers={"Location": f"/v1/batches/{view.batch.id}"})


async def list_batches(request: web.Request) -> web.Response:
    """Return batches, newest first."""
    parameters, service = request[QUERY].copy(), request.app[RUNTIME].batches
    scope, after, most = caller(request).scope, parameters.pop("cursor"), parameters.pop("limit")
    beginning = parameters.pop("id")
    query = BatchQuery(**parameters)
    if beginning is not None:
        if not query.is_by_state:
            raise InvalidInputError({"id": ["cannot be given together with type, failed or meta"]})
        return reply({"items": await _matching(request, beginning, query.state, most), "next": None})
    is_plain = scope.is_everything and query.is_by_state
    if isinstance(after, BatchCursor if is_plain else str):
        raise InvalidInputError({"cursor": [NO_CURSOR]})
    if not is_plain:
        seen, place = await service.pages.page(query, scope=scope, after=after, limit=most)
        return reply({"items": BatchResponse.many(seen), "next": place and schemas.place_cursor(place)})
    try:
        views = await service.page(state=query.state, after=after, limit=most + 1)
    except NotFoundError:
        raise InvalidInputError({"cursor": [NO_CURSOR]}) from None
    return page_reply(views, most, BatchResponse.of, lambda view: view.batch.id)


async def _matching(request: web.Request, short: ShortId, state: str | None, limit: int) -> list[Mapping[str, Any]]:
    """Return the batches for which a short id may stand."""
    runtime, scope = request.app[RUNTIME], caller(request).scope
    ids = [match["id"] for match in await runtime.short_ids.batches(short, limit) if state in {None, match["state"]}]
    visible = [each for each in ids if scope.is_everything or await runtime.scope_checks.has_batch(each, scope)]
    return [BatchResponse.of(await runtime.batches.get(each)) for each in visible]


async def show(request: web.Request) -> web.Response:
    """Return a batch: its state, the counts of its jobs by state, and its progress."""
    return reply(BatchResponse.of(await request.app[RUNTIME].batches.get(path_id(request))))


async def graph(request: web.Request) -> web.Response:
    """Return the jobs of a batch with their dependencies and states, without their data."""
    batch_id, runtime, fields = path_id(request), request.app[RUNTIME], request[QUERY]["fields"]
    await runtime.batches.stored(batch_id)
    nodes = await runtime.graphs.of(batch_id, caller(request).scope, MOST_MEMBERS + 1, fields)
    jobs = schemas.node_forms(nodes[:MOST_MEMBERS], fields)
    return reply({"id": batch_id, "jobs": jobs, "truncated": len(nodes) > MOST_MEMBERS})


async def add_jobs(request: web.Request) -> web.Response:
    """Add jobs to an open batch, all or none; a running job of a sealed batch may do so with its token."""
    batch_id = path_id(request)
    body = await read_object(request, most=MOST_BATCH_BODY)
    keyed = await keyed_request(request, body)
    values, problems = sift(schemas.BatchAddSchema, body)
    reader = JobReader(MOST_READ)
    members = _members(values.get("jobs", []), reader, problems)
    reader.check(problems)
    members = await admitted_members(request, members)
    runtime = request.app[RUNTIME]
    token, is_new = values.get("token"), True
    if keyed is None:
        added = await runtime.batches.add(batch_id, members, token=token)
    else:
        added, is_new = await runtime.idempotency.add_to_batch(keyed, batch_id, members, token=token)
    is_new = is_new and not all(job.existed for job in added)
    return reply({"id": batch_id, "jobs": schemas.AddedResponse.many(added)}, status=201 if is_new else 200)


async def seal(request: web.Request) -> web.Response:
    """Seal a batch: no further jobs come."""
    return reply(BatchResponse.of(await request.app[RUNTIME].batches.seal(path_id(request), by=actor(request))))


async def kill(request: web.Request) -> web.Response:
    """Kill all unfinished jobs of a batch; an operation kills many jobs after the reply."""
    batch_id = path_id(request)
    body = await read_body(request, KillSchema, optional=True)
    batches, scope = request.app[RUNTIME].batches, caller(request).scope
    killed = await batches.kill(batch_id, **body, by=actor(request), scope=scope)
    if isinstance(killed, Operation):
        return begun(killed)
    return reply(BatchResponse.of(await batches.get(batch_id)) | {"killed": killed})


async def requeue(request: web.Request) -> web.Response:
    """Restart failed and killed jobs of a batch; jobs killed because of them go back to waiting."""
    batch_id = path_id(request)
    body = await read_body(request, schemas.BatchRequeueSchema, optional=True)
    return reply(BatchResponse.of(await request.app[RUNTIME].batches.requeue(batch_id, **body, by=actor(request))))


def _members(items: list[Any], reader: JobReader, problems: Problems) -> tuple[Member, ...]:
    if len(items) > MOST_MEMBERS:
        raise InvalidInputError({"jobs": [f"takes at most {MOST_MEMBERS:,} jobs"]})
    members = [_member(item, f"jobs.{place}", reader, problems) for place, item in enumerate(items)]
    return tuple(member for member in members if member is not None)


def _member(item: Any, path: str, reader: JobReader, problems: Problems) -> Member | None:
    """Read a job of a batch, which may depend on refs of the batch or on ids of jobs."""
    if not isinstance(item, dict):
        problems[path] = ["must be a job"]
        return None
    ref = item.get("ref")
    if ref is not None and not is_ref(ref):
        problems[f"{path}.ref"] = ["must be 1 to 100 letters, digits, _ . : or -, and begin with a letter, digit or _"]
        ref = None
    after = _texts(item, "dependsOn", path, problems)
    blocks = _texts(item, "blocks", path, problems)
    job = reader.read({name: value for name, value in item.items() if name not in _OWN}, path)
    return None if job is None else Member(job=job, ref=ref, after=after, blocks=blocks)


def _texts(item: Mapping[str, Any], name: str, path: str, problems: Problems) -> tuple[str, ...]:
    value = item.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        problems[f"{path}.{name}"] = ["must be a list of texts"]
        return ()
    if len(value) > MOST_DEPENDENCIES:
        problems[f"{path}.{name}"] = [f"takes at most {MOST_DEPENDENCIES:,} jobs"]
        return ()
    return tuple(dict.fromkeys(value))
