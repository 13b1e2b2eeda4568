"""The form of a reply that a request prefers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from jobqueue.api.http.json_reply import JSON

if TYPE_CHECKING:
    from aiohttp import web

HTML: Final = "text/html"


def wants_page(request: web.Request) -> bool:
    """Return True if a request names ``text/html`` before JSON, as browsers do."""
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get(hdrs.ACCEPT, "").split(",")]
    return HTML in accepted and JSON not in accepted[: accepted.index(HTML)]
