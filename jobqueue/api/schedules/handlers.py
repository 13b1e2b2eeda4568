"""Schedules: definition, runs, pause and resume."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aiohttp import web

from jobqueue.api.http.json_body import read_body, read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.preconditions import answered, etag, preconditions
from jobqueue.api.jobs.new_jobs import new_job
from jobqueue.api.schedules import schemas
from jobqueue.api.schemas.queries import name_cursor
from jobqueue.api.security.caller import actor, admitted, caller, shown
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.schedules.outlook import STARTS
from jobqueue.services.schedules import previews
from jobqueue.services.schedules.schedules import is_within

if TYPE_CHECKING:
    from jobqueue.domain.schedules.schedule import StoredSchedule

_READ_ONLY: Final = frozenset(
    {"name", "nextAt", "nextRuns", "lastRuns", "lastSkipped", "createdAt", "changedAt", "declared"}
)


async def list_schedules(request: web.Request) -> web.Response:
    """Return all schedules, by name."""
    most, after = request[QUERY]["limit"], request[QUERY]["cursor"]
    service = request.app[RUNTIME].schedules
    scope = caller(request).scope
    stored: list[StoredSchedule] = []
    while len(stored) <= most and (page := await service.store.page(after, most + 1)):
        stored += [schedule for schedule in page if is_within(schedule, scope)]
        after = page[-1].name
    items = await asyncio.gather(*(service.view(schedule, scope) for schedule in stored[:most]))
    return reply({"items": items, "next": name_cursor(stored[most - 1].name) if len(stored) > most else None})


async def show(request: web.Request) -> web.Response:
    """Return a schedule, with its next and its last runs."""
    service = request.app[RUNTIME].schedules
    schedule = await service.get(path_name(request))
    body = await service.view(schedule, caller(request).scope)
    return answered(("schedule", schedule.name), schedule.tag, preconditions(request), body)


async def put(request: web.Request) -> web.Response:
    """Create or replace a schedule; an equal schedule changes nothing, nor does any with ``dryRun``."""
    name = path_name(request)
    # Clients may send back the read-only fields of `show`.
    body = {field: value for field, value in (await read_object(request)).items() if field not in _READ_ONLY}
    schedule = await asyncio.to_thread(schedules.read, name, body, new_job)
    schedule = replace(schedule, job=(await admitted(request, [schedule.job]))[0])
    service, scope = request.app[RUNTIME].schedules, caller(request).scope
    if request[QUERY]["dry_run"]:
        await service.would(schedule, only=preconditions(request), scope=scope)
        return web.Response(status=204)
    stored, is_new = await service.put(schedule, by=actor(request), only=preconditions(request), scope=scope)
    return await _answer(request, stored, status=201 if is_new else 200)


async def preview(request: web.Request) -> web.Response:
    """Return the next times of a definition; nothing is changed, and no schedule of this name need be there."""
    body = await read_body(request, schemas.TimesSchema)
    count, name = body.pop("count", STARTS), path_name(request)
    store, scope = request.app[RUNTIME].schedules.store, caller(request).scope
    return reply(await previews.preview(store, body, name=name, count=count, scope=scope))


async def delete(request: web.Request) -> web.Response:
    """Delete a schedule; its jobs stay."""
    name = path_name(request)
    service, scope = request.app[RUNTIME].schedules, caller(request).scope
    await service.delete(name, by=actor(request), only=preconditions(request), scope=scope)
    return web.Response(status=204)


async def run(request: web.Request) -> web.Response:
    """Make one job of a schedule now, besides its times; also of a paused one."""
    runs, scope = request.app[RUNTIME].manual_runs, caller(request).scope
    job = await runs.run(path_name(request), by=actor(request), scope=scope)
    return reply(shown(request, job), status=201, headers={"Location": f"/v1/jobs/{job.id}"})


async def pause(request: web.Request) -> web.Response:
    """Pause a schedule: it makes no jobs."""
    return await _set_paused(request, paused=True)


async def resume(request: web.Request) -> web.Response:
    """Resume a schedule, from now on."""
    return await _set_paused(request, paused=False)


def path_name(request: web.Request) -> str:
    """Return the name in the path.

    Raises:
        InvalidInputError: it is none.
    """
    return schedules.check_name(request.match_info["name"])


async def _set_paused(request: web.Request, *, paused: bool) -> web.Response:
    name = path_name(request)
    service = request.app[RUNTIME].schedules
    only, scope = preconditions(request), caller(request).scope
    stored = await service.set_paused(name, paused=paused, by=actor(request), only=only, scope=scope)
    return await _answer(request, stored)


async def _answer(request: web.Request, schedule: StoredSchedule, *, status: int = 200) -> web.Response:
    body = await request.app[RUNTIME].schedules.view(schedule, caller(request).scope)
    return reply(body, status=status, headers=etag(schedule.tag))
