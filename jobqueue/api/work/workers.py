"""Workers that gave a sign of life lately, and the types of jobs that they serve."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobqueue.api.http.json_reply import page_reply, reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.schemas.queries import encoded
from jobqueue.api.security.caller import actor, caller
from jobqueue.api.work.schemas import TypeResponse, WorkerResponse
from jobqueue.domain.errors import NotFoundError

if TYPE_CHECKING:
    from aiohttp import web

    from jobqueue.services.work.roster import ServedType, WorkerView


async def list_workers(request: web.Request) -> web.Response:
    """Return workers that gave a sign of life within the last day, with what they run, by name."""
    query, roster = request[QUERY], request.app[RUNTIME].roster
    after = query["cursor"] or None
    found = await roster.workers(caller(request).scope, after=after, limit=query["limit"] + 1)
    return page_reply(found, query["limit"], _worker, lambda worker: encoded(worker.name))


async def show(request: web.Request) -> web.Response:
    """Return a worker that gave a sign of life within the last day, with what it runs."""
    worker = await request.app[RUNTIME].roster.worker(name := request.match_info["name"], caller(request).scope)
    if worker is None:
        raise NotFoundError("worker", name)
    return reply(_worker(worker))


async def drain(request: web.Request) -> web.Response:
    """Drain a worker: it claims no more jobs, finishes what it runs, and leaves."""
    drains, name = request.app[RUNTIME].drains, request.match_info["name"]
    return reply(_worker(await drains.drain(name, by=actor(request), scope=caller(request).scope)))


async def resume(request: web.Request) -> web.Response:
    """Undo the drain of a worker that has not left yet."""
    drains, name = request.app[RUNTIME].drains, request.match_info["name"]
    return reply(_worker(await drains.undo(name, by=actor(request), scope=caller(request).scope)))


async def list_types(request: web.Request) -> web.Response:
    """Return the types of jobs that living workers and processors serve, with the JSON Schemas of their data."""
    query, roster = request[QUERY], request.app[RUNTIME].roster
    after, queue = query["cursor"], query["queue"]
    found = [
        served
        for served in await roster.types(caller(request).scope)
        if _place(served) > after and queue in {None, served.queue}
    ]
    return page_reply(found, query["limit"], TypeResponse.of, lambda served: encoded(_place(served)))


def _worker(worker: WorkerView) -> dict[str, Any]:
    queues = [{name: value for name, value in asdict(post).items() if name != "schemas"} for post in worker.queues]
    return WorkerResponse.of({name: getattr(worker, name) for name in _FIELDS} | {"queues": queues})


_FIELDS = ("name", "alive", "host", "pid", "version", "since", "last_sign_at", "draining", "running")


def _place(served: ServedType) -> str:
    """Return a text in whose order types are listed."""
    return f"{served.queue}\0{served.type}"
