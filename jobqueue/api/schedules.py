"""Schedules: jobs that come again and again."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs

from jobqueue.api import schemas
from jobqueue.api.actors import actor
from jobqueue.api.keys import RUNTIME
from jobqueue.api.listing import Parameters, limit
from jobqueue.api.new_jobs import JobReader
from jobqueue.api.queues import if_match
from jobqueue.api.reading import read_object
from jobqueue.api.replies import reply
from jobqueue.domain import schedule
from jobqueue.domain.checks import check_queue
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.job import NewJob

if TYPE_CHECKING:
    from aiohttp import web

MOST_LISTED: Final = 200
_SCHEDULE: Final = schemas.ScheduleSchema()
_SOME_JOB: Final = NewJob(type="unknown")
_PAGED: Final = frozenset({"limit", "cursor"})
_READ_ONLY: Final = frozenset({"name", "nextAt", "changedAt", "lastSkipped", "nextRuns", "lastRuns"})


async def list_schedules(request: web.Request) -> web.Response:
    """Return schedules by name."""
    parameters = Parameters(request, _PAGED)
    most = parameters.read("limit", limit(MOST_LISTED), 50)
    after = parameters.read("cursor", _name_of, "")
    parameters.check()
    found = await request.app[RUNTIME].schedules.page(after=after, limit=most + 1)
    more = base64.urlsafe_b64encode(found[most - 1]["name"].encode()).decode() if len(found) > most else None
    return reply({"items": found[:most], "next": more})


async def show(request: web.Request) -> web.Response:
    """Return a schedule with its next five and its last ten runs."""
    return await _shown(request, path_name(request))


async def put(request: web.Request) -> web.Response:
    """Define a schedule; the same definition again changes nothing."""
    name = path_name(request)
    given = {field: value for field, value in (await read_object(request)).items() if field not in _READ_ONLY}
    definition = _definition(given)
    schedules = request.app[RUNTIME].schedules
    await schedules.put(name, definition, by=actor(request), if_match=if_match(request))
    return await _shown(request, name)


async def delete(request: web.Request) -> web.Response:
    """Delete a schedule; its jobs are kept."""
    name = path_name(request)
    await request.app[RUNTIME].schedules.delete(name, by=actor(request), if_match=if_match(request))
    return reply({"name": name})


async def pause(request: web.Request) -> web.Response:
    """Let a schedule have no ticks."""
    return await _set_paused(request, paused=True)


async def resume(request: web.Request) -> web.Response:
    """Let a schedule go on with the next tick; those while it was paused are not made up for."""
    return await _set_paused(request, paused=False)


def path_name(request: web.Request) -> str:
    """Return the name in the path: it is formed as that of a queue.

    Raises:
        InvalidInputError: it cannot be one.
    """
    return check_queue(request.match_info["name"], "name")


async def _set_paused(request: web.Request, *, paused: bool) -> web.Response:
    name = path_name(request)
    schedules = request.app[RUNTIME].schedules
    await schedules.set_paused(name, paused=paused, by=actor(request), if_match=if_match(request))
    return await _shown(request, name)


async def _shown(request: web.Request, name: str) -> web.Response:
    shown, tag = await request.app[RUNTIME].schedules.show(name)
    return reply(shown, headers={hdrs.ETAG: f'"{tag}"'})


def _definition(given: dict[str, Any]) -> schedule.Definition:
    values, problems = schemas.sift(_SCHEDULE, given)
    reader = JobReader()
    job = reader.read(values["job"], "job") if values.get("job") is not None else None
    try:
        definition = schedule.read({**values, "job": job or _SOME_JOB})
    except InvalidInputError as error:
        problems = {**error.problems, **problems}
    reader.check(problems)
    return definition


def _name_of(cursor: str, path: str) -> str:
    try:
        return check_queue(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (binascii.Error, ValueError, InvalidInputError):
        raise InvalidInputError({path: ["is not a cursor of this listing"]}) from None
