"""Alerts: definition, mute and test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from jobqueue.api.alerts.schemas import MuteSchema
from jobqueue.api.http.json_body import read_body, read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.preconditions import answered, etag, preconditions
from jobqueue.api.schemas.queries import name_cursor
from jobqueue.api.security.caller import actor, caller, shown
from jobqueue.domain.alerts import alert as alerts

if TYPE_CHECKING:
    from jobqueue.domain.alerts.alert import StoredAlert

_READ_ONLY: Final = frozenset({"name", "mutedUntil", "muteReason", "standing", "createdAt", "changedAt"})


async def list_alerts(request: web.Request) -> web.Response:
    """Return all alerts, by name."""
    most, after = request[QUERY]["limit"], request[QUERY]["cursor"]
    service, urls = request.app[RUNTIME].alerts, caller(request).may("admin")
    stored = await service.store.all(after, most + 1)
    items = await asyncio.gather(*(service.view(each, urls=urls) for each in stored[:most]))
    return reply({"items": items, "next": name_cursor(stored[most - 1].name) if len(stored) > most else None})


async def show(request: web.Request) -> web.Response:
    """Return an alert, with masks, and the things that it has told of and that go on."""
    service = request.app[RUNTIME].alerts
    stored = await service.get(path_name(request))
    body = await service.view(stored, urls=caller(request).may("admin"))
    return answered(("alert", stored.name), stored.tag, preconditions(request), body)


async def put(request: web.Request) -> web.Response:
    """Create or replace an alert; only this reply shows a secret that is made now."""
    name = path_name(request)
    # Clients may send back the read-only fields of `show`.
    body = {field: value for field, value in (await read_object(request)).items() if field not in _READ_ONLY}
    service = request.app[RUNTIME].alerts
    stored, secret, is_new = await service.put(name, body, by=actor(request), only=preconditions(request))
    return await _answer(request, stored, status=201 if is_new else 200, secret=secret)


async def delete(request: web.Request) -> web.Response:
    """Delete an alert; its messages that were not sent yet are given up."""
    await request.app[RUNTIME].alerts.delete(path_name(request), by=actor(request), only=preconditions(request))
    return web.Response(status=204)


async def mute(request: web.Request) -> web.Response:
    """Mute an alert for some seconds from now on; 0 ends that."""
    name = path_name(request)
    body = await read_body(request, MuteSchema)
    service, only = request.app[RUNTIME].alerts, preconditions(request)
    stored = await service.mute(name, body["seconds"], reason=body.get("reason"), by=actor(request), only=only)
    return await _answer(request, stored)


async def test(request: web.Request) -> web.Response:
    """Send a test message, also while the alert is muted; the reply is its job."""
    job = await request.app[RUNTIME].alerts.test(path_name(request))
    return reply(shown(request, job), status=201, headers={"Location": f"/v1/jobs/{job.id}"})


def path_name(request: web.Request) -> str:
    """Return the name in the path.

    Raises:
        InvalidInputError: it is none.
    """
    return alerts.check_name(request.match_info["name"])


async def _answer(
    request: web.Request, stored: StoredAlert, *, status: int = 200, secret: str | None = None
) -> web.Response:
    body = await request.app[RUNTIME].alerts.view(stored, urls=caller(request).may("admin"), secret=secret)
    return reply(body, status=status, headers=etag(stored.tag))
