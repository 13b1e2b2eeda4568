"""The style, the scripts and their addresses, which change with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from aiohttp import web

from jobqueue.domain.errors import NotFoundError

_FILES: Final = {
    "style.css": ("style.css", "text/css"),
    "live.js": ("live.js", "text/javascript"),
    "keys.js": ("keys.js", "text/javascript"),
    "query.js": ("query.js", "text/javascript"),
    "log.js": ("log.js", "text/javascript"),
    "charts.js": ("charts.js", "text/javascript"),
    "htmx.js": ("vendor/htmx.min.js", "text/javascript"),
    "idiomorph.js": ("vendor/idiomorph-ext.min.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_YEAR: Final = 365 * 86_400
_DIGITS: Final = 10


def address(name: str) -> str:
    """Return the path of a file; browsers keep it until its content changes."""
    return f"/static/{name}?v={_version(name)}"


async def static_file(request: web.Request) -> web.StreamResponse:
    """Return a file."""
    name = request.match_info["file"]
    if name not in _FILES:
        raise NotFoundError("file", name)
    kept = f"public, max-age={_YEAR}, immutable" if request.query.get("v") == _version(name) else "no-cache"
    response = web.Response(
        body=_read(name), content_type=_FILES[name][1], charset="utf-8", headers={"Cache-Control": kept}
    )
    response.enable_compression()
    return response


@cache
def _version(name: str) -> str:
    return hashlib.sha256(_read(name)).hexdigest()[:_DIGITS]


@cache
def _read(name: str) -> bytes:
    return files("jobqueue.dashboard").joinpath("static", *_FILES[name][0].split("/")).read_bytes()
