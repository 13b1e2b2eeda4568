"""Who makes a request, what it may see, and what the audit says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.api.keys import RUNTIME
from jobqueue.domain.access import Caller
from jobqueue.domain.audit import Actor

if TYPE_CHECKING:
    from aiohttp import web


def caller(request: web.Request) -> Caller:
    """Return who makes a request: ``admin`` with the admin token, ``nobody`` where none is needed."""
    name = "nobody" if request.app[RUNTIME].settings.admin_token is None else "admin"
    return Caller(name=name, roles=frozenset({"admin"}))


def actor(request: web.Request) -> Actor:
    """Return what the audit says of who makes a request."""
    return Actor(name=caller(request).name, via="http", address=request.remote)
