"""Queues: their configuration, pause and resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.api import schemas
from jobqueue.api.keys import RUNTIME
from jobqueue.api.reading import read_object
from jobqueue.api.replies import reply
from jobqueue.domain import wire
from jobqueue.domain.checks import check_queue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from jobqueue.domain.queue import QueueConfig

_QUEUE: Final = schemas.QueueSchema()


async def show(request: web.Request) -> web.Response:
    """Return a queue's configuration, its secrets masked; one that nobody configured has the defaults."""
    name = path_queue(request)
    return reply(_shown(name, await request.app[RUNTIME].queues.get(name)))


async def put(request: web.Request) -> web.Response:
    """Replace a queue's configuration; a secret made now is shown in this answer and never again."""
    name = path_queue(request)
    given = await read_object(request)
    schemas.load(_QUEUE, given)
    config, secrets = await request.app[RUNTIME].queues.put(name, given)
    return reply(_shown(name, config, secrets))


async def pause(request: web.Request) -> web.Response:
    """Let nothing be claimed from a queue."""
    return await _set_paused(request, paused=True)


async def resume(request: web.Request) -> web.Response:
    """Let jobs be claimed from a queue again."""
    return await _set_paused(request, paused=False)


def path_queue(request: web.Request) -> str:
    """Return the queue name in the path.

    Raises:
        InvalidInputError: it cannot be one.
    """
    return check_queue(request.match_info["queue"])


async def _set_paused(request: web.Request, *, paused: bool) -> web.Response:
    name = path_queue(request)
    return reply(_shown(name, await request.app[RUNTIME].queues.set_paused(name, paused=paused)))


def _shown(name: str, config: QueueConfig, secrets: Mapping[str, str] | None = None) -> dict[str, Any]:
    shown = wire.queue(config)
    for kind, secret in (secrets or {}).items():
        shown["processors"][kind]["secret"] = secret
    return {"name": name, **shown}
