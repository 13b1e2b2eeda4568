"""Schedules: which jobs are made when; pause and resume."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from jobqueue.api.http.json_body import read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.preconditions import answered, etag, preconditions
from jobqueue.api.jobs.new_jobs import JobReader
from jobqueue.api.schemas.queries import name_cursor
from jobqueue.api.security.caller import actor, admitted, caller
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.services.schedules.schedules import is_within

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.schedules.schedule import StoredSchedule

_READ_ONLY: Final = frozenset({"name", "nextAt", "nextRuns", "lastRuns", "lastSkipped", "createdAt", "changedAt"})


async def list_schedules(request: web.Request) -> web.Response:
    """Return all schedules, by name."""
    most, after = request[QUERY]["limit"], request[QUERY]["cursor"]
    service = request.app[RUNTIME].schedules
    scope = caller(request).scope
    found: list[StoredSchedule] = []
    while len(found) <= most and (some := await service.store.page(after, most + 1)):
        found += [one for one in some if is_within(one, scope)]
        after = some[-1].name
    items = await asyncio.gather(*(service.view(one, scope) for one in found[:most]))
    return reply({"items": items, "next": name_cursor(found[most - 1].name) if len(found) > most else None})


async def show(request: web.Request) -> web.Response:
    """Return a schedule, with its next and its last runs."""
    service = request.app[RUNTIME].schedules
    one = await service.get(path_name(request))
    body = await service.view(one, caller(request).scope)
    return answered(("schedule", one.name), one.tag, preconditions(request), body)


async def put(request: web.Request) -> web.Response:
    """Create or replace a schedule; the same again changes nothing."""
    name = path_name(request)
    # What only `show` tells may be sent back, and says nothing.
    given = {field: value for field, value in (await read_object(request)).items() if field not in _READ_ONLY}
    schedule = await asyncio.to_thread(schedules.read, name, given, _read_job)
    schedule = replace(schedule, job=(await admitted(request, [schedule.job]))[0])
    service, scope = request.app[RUNTIME].schedules, caller(request).scope
    made, new = await service.put(schedule, by=actor(request), only=preconditions(request), scope=scope)
    return await _answer(request, made, status=201 if new else 200)


async def delete(request: web.Request) -> web.Response:
    """Take away a schedule; the jobs that it has made are kept."""
    name = path_name(request)
    service, scope = request.app[RUNTIME].schedules, caller(request).scope
    await service.delete(name, by=actor(request), only=preconditions(request), scope=scope)
    return web.Response(status=204)


async def pause(request: web.Request) -> web.Response:
    """Let a schedule make nothing."""
    return await _set_paused(request, paused=True)


async def resume(request: web.Request) -> web.Response:
    """Let a schedule make jobs again, from now on."""
    return await _set_paused(request, paused=False)


def path_name(request: web.Request) -> str:
    """Return the name in the path.

    Raises:
        InvalidInputError: it cannot be one.
    """
    return schedules.check_name(request.match_info["name"])


async def _set_paused(request: web.Request, *, paused: bool) -> web.Response:
    name = path_name(request)
    service = request.app[RUNTIME].schedules
    return await _answer(
        request,
        await service.set_paused(
            name, paused=paused, by=actor(request), only=preconditions(request), scope=caller(request).scope
        ),
    )


async def _answer(request: web.Request, one: StoredSchedule, *, status: int = 200) -> web.Response:
    shown = await request.app[RUNTIME].schedules.view(one, caller(request).scope)
    return reply(shown, status=status, headers=etag(one.tag))


def _read_job(given: Any, path: str) -> NewJob:
    reader = JobReader()
    made = reader.read(given, path)
    reader.check()
    if made is None:
        raise InvalidInputError({path: ["must be a job"]})
    return made
