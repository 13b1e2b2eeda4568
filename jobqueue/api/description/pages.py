"""The pages at ``/docs``: Swagger UI on this server's own document, without anything from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from aiohttp import web

from jobqueue.domain.errors import NotFoundError

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    "docs.js": ("docs.js", "text/javascript"),
}
_DAY: Final = 86_400


async def page(_request: web.Request) -> web.Response:
    """Return the page that shows this API."""
    return _answer("docs.html", "text/html", cached=False)


async def asset(request: web.Request) -> web.Response:
    """Return a file that the page needs."""
    name = request.match_info["file"]
    if name not in _FILES:
        raise NotFoundError("file", name)
    return _answer(*_FILES[name], cached=True)


def _answer(name: str, media_type: str, *, cached: bool) -> web.Response:
    headers = {"Content-Security-Policy": _POLICY} | ({"Cache-Control": f"public, max-age={_DAY}"} if cached else {})
    return web.Response(body=_read(name), content_type=media_type, charset="utf-8", headers=headers)


@cache
def _read(name: str) -> bytes:
    return files("jobqueue.api").joinpath("static", *name.split("/")).read_bytes()
