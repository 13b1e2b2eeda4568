"""Requests of a page to the HTTP API, within the process and with the rights of the page's visitor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import StreamReader, hdrs, web
from yarl import URL

from jobqueue.api.http.json_reply import JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    headers = {hdrs.HOST: request.host, hdrs.ACCEPT: JSON}
    # Requests that take long check the visitor's session or token again.
    headers |= {name: request.headers[name] for name in (hdrs.AUTHORIZATION, hdrs.COOKIE) if name in request.headers}
    content = b"" if body is None else orjson.dumps(body)
    if body is not None:
        headers |= {hdrs.CONTENT_TYPE: JSON, hdrs.CONTENT_LENGTH: str(len(content))}
    method = hdrs.METH_GET if body is None else hdrs.METH_POST
    url = URL(path, encoded=True).with_query(dict(query or {}))
    inner = request.clone(method=method, rel_url=url, headers=headers)
    reader = StreamReader(request.protocol, _LIMIT, loop=asyncio.get_running_loop())
    reader.feed_data(content)
    reader.feed_eof()
    # aiohttp has no public way to hand a request on to another handler of the same application.
    inner._payload = reader  # noqa: SLF001 - see above
    match = await request.app.router.resolve(inner)
    match.add_app(request.app)
    inner._match_info = match  # noqa: SLF001 - see above
    response = await match.handler(inner)
    if not isinstance(response, web.Response) or response.status >= _FIRST_ERROR:
        raise TypeError(f"{path} gives no reply that a page can read")
    value: dict[str, Any] = orjson.loads(response.text or "{}")
    return value
