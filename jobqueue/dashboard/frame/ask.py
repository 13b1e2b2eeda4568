"""Requests of a page to the HTTP API, within the process and with the rights of the page's visitor."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import EMPTY_PAYLOAD, StreamReader, hdrs, web
from yarl import URL

from jobqueue.api.http.json_reply import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.acts.call import Call

_LIMIT: Final = 2**16
_FIRST_ERROR: Final = 400


async def ask(
    request: web.Request, path: str, query: Mapping[str, str] | None = None, *, body: Any = None
) -> dict[str, Any]:
    """Return the JSON reply of a route of the API.

    The route's own handler answers, behind its own checks of role and scope. So a page can show nothing that its
    visitor could not get from the API.

    Args:
        request: of the page.
        path: of the API, with its parameters quoted, such as ``/v1/jobs``.
        query: parameters.
        body: of a POST that only reads, such as a search; without a body the request is a GET.

    Raises:
        JobQueueError: as the handler.
        ProblemError: as the handler.
    """
    return (await ask_tagged(request, path, query, body=body))[0]


async def ask_tagged(
    request: web.Request, path: str, query: Mapping[str, str] | None = None, *, body: Any = None
) -> tuple[dict[str, Any], str]:
    """Return the JSON reply of a route of the API, and its entity tag, or an empty text; all else as `ask`."""
    method = hdrs.METH_GET if body is None else hdrs.METH_POST
    url = URL(path, encoded=True).with_query(dict(query or {}))
    response = await _answer(request, method, url, b"" if body is None else json.dumps(body).encode())
    value: dict[str, Any] = orjson.loads(response.text or "{}")
    return value, response.headers.get(hdrs.ETAG, "").strip('"')


async def send(request: web.Request, call: Call) -> dict[str, Any]:
    """Make a call of the API that changes something, and return its reply; raises as `ask`."""
    url = URL(call.path, encoded=True).with_query(dict(call.query))
    response = await _answer(request, call.method, url, call.content, call.headers)
    value: dict[str, Any] = orjson.loads(response.text or "{}")
    return value


async def _answer(
    request: web.Request, method: str, url: URL, content: bytes, more: Mapping[str, str] | None = None
) -> web.Response:
    headers = {hdrs.HOST: request.host, hdrs.ACCEPT: JSON, **(more or {})}
    # Requests that take long check the visitor's session or token again.
    headers |= {name: request.headers[name] for name in (hdrs.AUTHORIZATION, hdrs.COOKIE) if name in request.headers}
    if content:
        headers |= {hdrs.CONTENT_TYPE: JSON, hdrs.CONTENT_LENGTH: str(len(content))}
    inner = request.clone(method=method, rel_url=url, headers=headers)
    # aiohttp has no public way to hand a request on to another handler of the same application.
    inner._payload = _payload(request, content)  # noqa: SLF001 - see above
    match = await request.app.router.resolve(inner)
    match.add_app(request.app)
    inner._match_info = match  # noqa: SLF001 - see above
    response = await match.handler(inner)
    if not isinstance(response, web.Response) or response.status >= _FIRST_ERROR:
        raise TypeError(f"{url} gives no reply that a page can read")
    return response


def _payload(request: web.Request, content: bytes) -> StreamReader:
    if not content:
        return EMPTY_PAYLOAD
    # More than twice the limit would pause the connection of the visitor, whose request has been read already.
    reader = StreamReader(request.protocol, max(_LIMIT, len(content)), loop=asyncio.get_running_loop())
    reader.feed_data(content)
    reader.feed_eof()
    return reader
