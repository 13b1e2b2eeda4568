"""Batches: jobs that belong together, added, looked at and restarted as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.bulk.handlers import begun
from jobqueue.api.http.json_body import MOST_BATCH_BODY, read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.idempotency_key import once
from jobqueue.api.jobs.new_jobs import JobReader
from jobqueue.api.schemas import fields, requests
from jobqueue.api.schemas.queries import place_cursor
from jobqueue.api.security.caller import actor, admitted_group, admitted_members, caller, check_made
from jobqueue.domain.bulk.operation import Operation
from jobqueue.domain.errors import InvalidInputError, NotFoundError, Problems
from jobqueue.domain.jobs.checks import gather
from jobqueue.domain.jobs.job import MOST_DEPENDENCIES, NewJob, check_content
from jobqueue.domain.workflow.batch import MOST_MEMBERS, BatchCursor, Member, NewBatch, is_ref

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from jobqueue.services.workflow.batch_members import AddedMember

MOST_READ: Final = 2 * MOST_MEMBERS
"""Jobs in one request, children included."""
_BATCH: Final = requests.BatchSchema()
_ADD: Final = requests.BatchAddSchema()
_KILL: Final = requests.KillSchema()
_REQUEUE: Final = requests.BatchRequeueSchema()
_EVENTS: Final = {"on_complete": "onComplete", "on_success": "onSuccess", "on_failure": "onFailure"}


async def create(request: web.Request) -> web.Response:
    """Create a batch and its first jobs, all or nothing; sealed unless it says otherwise."""
    given = await read_object(request, most=MOST_BATCH_BODY)
    asked = await once(request, given)
    values, problems = fields.sift(_BATCH, given)
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
    fresh = True
    if asked is None:
        view, added = await runtime.batches.create(new)
    else:
        (view, added), fresh = await runtime.idempotency.create_batch(asked, new)
        await check_made(request, [] if fresh else [one.id for one in added])
    shown = view.wire() | {"jobs": _shown(added)}
    return reply(shown, status=201 if fresh else 200, headers={"Location": f"/v1/batches/{shown['id']}"})


async def list_batches(request: web.Request) -> web.Response:
    """Return batches, newest first."""
    query, most, service = request[QUERY], request[QUERY]["limit"], request.app[RUNTIME].batches
    scope, after = caller(request).scope, query["cursor"]
    if isinstance(after, BatchCursor if scope.is_everything else str):
        raise InvalidInputError({"cursor": ["is not a cursor of this listing"]})
    if not scope.is_everything:
        seen, place = await service.page_within(scope, state=query["state"], after=after, limit=most)
        return reply({"items": [one.wire() for one in seen], "next": place and place_cursor(place)})
    try:
        found = await service.page(state=query["state"], after=after, limit=most + 1)
    except NotFoundError:
        raise InvalidInputError({"cursor": ["is not a cursor of this listing"]}) from None
    more = found[most - 1].batch.id if len(found) > most else None
    return reply({"items": [one.wire() for one in found[:most]], "next": more})


async def show(request: web.Request) -> web.Response:
    """Return a batch: its state, the counts of its jobs by state, and its progress."""
    return reply((await request.app[RUNTIME].batches.get(path_id(request))).wire())


async def add_jobs(request: web.Request) -> web.Response:
    """Add jobs to an open batch, all or none; a running job of it, named by its token, may do so when it is sealed."""
    batch_id = path_id(request)
    given = await read_object(request, most=MOST_BATCH_BODY)
    asked = await once(request, given)
    values, problems = fields.sift(_ADD, given)
    reader = JobReader(MOST_READ)
    members = _members(values.get("jobs", []), reader, problems)
    reader.check(problems)
    members = await admitted_members(request, members)
    runtime = request.app[RUNTIME]
    token, fresh = values.get("token"), True
    if asked is None:
        added = await runtime.batches.add(batch_id, members, token=token)
    else:
        added, fresh = await runtime.idempotency.add_to_batch(asked, batch_id, members, token=token)
    is_new = fresh and not all(job.existed for job in added)
    return reply({"id": batch_id, "jobs": _shown(added)}, status=201 if is_new else 200)


async def seal(request: web.Request) -> web.Response:
    """Say that no further jobs will come."""
    return reply((await request.app[RUNTIME].batches.seal(path_id(request), by=actor(request))).wire())


async def kill(request: web.Request) -> web.Response:
    """Kill all unfinished jobs of a batch; many of them in an operation, which goes on after the answer."""
    batch_id = path_id(request)
    given = fields.load(_KILL, await read_object(request, optional=True))
    batches, scope = request.app[RUNTIME].batches, caller(request).scope
    killed = await batches.kill(batch_id, **given, by=actor(request), scope=scope)
    if isinstance(killed, Operation):
        return begun(killed)
    return reply((await batches.get(batch_id)).wire() | {"killed": killed})


async def requeue(request: web.Request) -> web.Response:
    """Restart what has failed or was killed, and what was killed because of it."""
    batch_id = path_id(request)
    given = fields.load(_REQUEUE, await read_object(request, optional=True))
    requeued = await request.app[RUNTIME].batches.requeue(batch_id, **given, by=actor(request))
    return reply(requeued.wire())


def _members(given: list[Any], reader: JobReader, problems: Problems) -> tuple[Member, ...]:
    if len(given) > MOST_MEMBERS:
        raise InvalidInputError({"jobs": [f"takes at most {MOST_MEMBERS:,} jobs"]})
    return tuple(one for place, job in enumerate(given) if (one := _member(job, place, reader, problems)))


def _member(given: Any, place: int, reader: JobReader, problems: Problems) -> Member | None:
    """Read a job of a batch: what it depends on may be refs of the batch or ids of jobs."""
    path = f"jobs.{place}"
    if not isinstance(given, dict):
        problems[path] = ["must be a job"]
        return None
    ref = given.get("ref")
    if ref is not None and not is_ref(ref):
        problems[f"{path}.ref"] = ["must be 1 to 100 letters, digits, _ . : or -, and begin with a letter, digit or _"]
        ref = None
    after = _texts(given, "dependsOn", path, problems)
    blocks = _texts(given, "blocks", path, problems)
    job = reader.read({name: inner for name, inner in given.items() if name not in _OWN}, path)
    if not isinstance(job, NewJob):
        return None
    return Member(job=job, ref=ref, after=after, blocks=blocks)


_OWN: Final = frozenset({"ref", "dependsOn", "blocks"})


def _texts(given: Mapping[str, Any], name: str, path: str, problems: Problems) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        problems[f"{path}.{name}"] = ["must be a list of texts"]
        return ()
    if len(value) > MOST_DEPENDENCIES:
        problems[f"{path}.{name}"] = [f"takes at most {MOST_DEPENDENCIES:,} jobs"]
        return ()
    return tuple(dict.fromkeys(value))


def _shown(added: list[AddedMember]) -> list[dict[str, Any]]:
    return [{"id": one.id, "ref": one.ref} for one in added]
