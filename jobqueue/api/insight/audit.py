"""What people have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.domain.insight.audit import AuditQuery

if TYPE_CHECKING:
    from aiohttp import web


async def list_changes(request: web.Request) -> web.Response:
    """Return what people have changed, newest first."""
    asked = request[QUERY].copy()
    most = asked.pop("limit")
    found = await request.app[RUNTIME].audit.store.find(AuditQuery(**asked, limit=most + 1))
    items = [one.wire() for one in found[:most]]
    return reply({"items": items, "next": items[-1]["id"] if len(found) > most else None})
