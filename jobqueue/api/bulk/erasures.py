"""The erasure of a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.api.bulk import schemas
from jobqueue.api.bulk.handlers import begun
from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.security.caller import actor
from jobqueue.domain.bulk.erasure import chosen
from jobqueue.domain.bulk.operation import Action, NewOperation

if TYPE_CHECKING:
    from aiohttp import web


async def erase(request: web.Request) -> web.Response:
    """Erase the contents of all ended jobs whose meta has certain values, or only preview that."""
    body = await read_body(request, schemas.EraseSchema)
    new = NewOperation(action=Action.ERASE, by=actor(request), filter=chosen(body["meta"]))
    operations = request.app[RUNTIME].operations
    if not body.get("dry_run", False):
        return begun(await operations.create(new))
    return reply(schemas.ErasurePreviewResponse.of(await operations.preview_erasure(new)))
