"""The sentence that the next page tells: what was done. A signed cookie of some seconds carries it."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from typing import TYPE_CHECKING, Final

from yarl import URL

from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.proxies import is_secure

if TYPE_CHECKING:
    from aiohttp import web

COOKIE: Final = "jobqueue_said"
SECONDS: Final = 20
_LONGEST: Final = 600
_PURPOSE: Final = "said"


async def tell(request: web.Request, response: web.Response, address: str, text: str) -> None:
    """Set the sentence that the page at an address of this server tells for some seconds."""
    content = json.dumps([URL(address, encoded=True).path, text[:_LONGEST], int(time.time()) + SECONDS])
    encoded = base64.urlsafe_b64encode(content.encode()).decode()
    signature = await request.app[RUNTIME].sessions.signature(_PURPOSE, encoded)
    response.set_cookie(
        COOKIE,
        f"{encoded}.{signature}",
        max_age=SECONDS,
        path="/",
        httponly=True,
        secure=is_secure(request),
        samesite="Strict",
    )


async def told(request: web.Request) -> str:
    """Return the sentence for the page of a request; empty for none, and for one that was not written here."""
    encoded, _, signature = request.cookies.get(COOKIE, "").partition(".")
    if not signature.isascii() or not signature:
        return ""
    if not hmac.compare_digest(signature, await request.app[RUNTIME].sessions.signature(_PURPOSE, encoded)):
        return ""
    try:
        path, text, until = json.loads(base64.urlsafe_b64decode(encoded))
    except (ValueError, binascii.Error):
        return ""
    return str(text) if path == request.path and until > time.time() else ""
