"""The manual of this version at ``/manual``, as `scripts/docs` has built it into the package."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from aiohttp import web

from jobqueue.domain.errors import NotFoundError

_FOLDER: Final = Path(str(files("jobqueue"))) / "manual"
_FRONT: Final = "index.html"
_MISSING: Final = "This installation has no manual. In a copy of the source, scripts/docs builds it.\n"
_SCRIPT: Final = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_STYLE: Final = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r'\bstyle="([^"]*)"')
_OTHERS: Final = (
    "default-src 'none'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


async def front(_request: web.Request) -> web.StreamResponse:
    """Redirect to the first page."""
    raise web.HTTPFound("/manual/")


async def page(request: web.Request) -> web.StreamResponse:
    """Return a page of the manual, or a file that its pages need."""
    if not (_FOLDER / _FRONT).is_file():
        return web.Response(status=404, text=_MISSING)
    return _file(request.match_info["path"] or _FRONT)


async def problem(request: web.Request) -> web.StreamResponse:
    """Redirect from the ``type`` of a problem to what the manual says of it."""
    name = f"problems/{request.match_info['slug']}.html"
    if (_FOLDER / _FRONT).is_file() and name not in _names():
        raise NotFoundError("problem", request.match_info["slug"])
    raise web.HTTPFound(f"/manual/{name}")


def _file(name: str) -> web.StreamResponse:
    if name not in _names():
        raise NotFoundError("page of the manual", name)
    path = _FOLDER / name
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = _policy(name)
    return web.FileResponse(path, headers=headers)


@cache
def _names() -> frozenset[str]:
    """Return the files of the manual: no other file is served, whatever a path says."""
    return frozenset(path.relative_to(_FOLDER).as_posix() for path in _FOLDER.rglob("*") if path.is_file())


@cache
def _policy(name: str) -> str:
    """Return the policy of a page; it allows exactly the scripts and styles that were built into it."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    scripts = " ".join(sorted({_hash(part) for part in _SCRIPT.findall(text)}))
    styles = " ".join(sorted({_hash(part) for part in [*_STYLE.findall(text), *_ATTRIBUTE.findall(text)]}))
    return f"{_OTHERS}; script-src 'self' {scripts}; style-src 'self' 'unsafe-hashes' {styles}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
