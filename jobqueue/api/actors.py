"""Who makes a request, for the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.api.keys import RUNTIME
from jobqueue.domain.audit import Actor

if TYPE_CHECKING:
    from aiohttp import web


def actor(request: web.Request) -> Actor:
    """Return who makes a request: ``admin`` with the admin token, ``nobody`` where none is needed."""
    name = "nobody" if request.app[RUNTIME].settings.admin_token is None else "admin"
    return Actor(name=name, via="http", address=request.remote)
