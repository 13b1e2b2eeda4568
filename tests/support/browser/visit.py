"""Pages of an application in this process, read as trees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from tests.support.browser.html import first, parsed

if TYPE_CHECKING:
    from aiohttp import web
    from bs4 import Tag

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

PAGE: Final = {"Accept": "text/html"}
MOST_BYTES: Final = 60 * 1024


def visitor(runtime: Runtime, **options: bool) -> Client:
    """Return a client of the application, to be entered."""
    return TestClient(TestServer(make_app(runtime, **options)))


async def main_of(client: Client, path: str, cookies: str = "") -> Tag:
    """Return the inner part of a page, which must be there and small."""
    reply = await client.get(path, headers={**PAGE, "Cookie": cookies} if cookies else PAGE)
    text = await reply.text()
    assert reply.status == 200, text[:2000]
    assert len(text.encode()) <= MOST_BYTES, {
        tag["id"]: len(str(tag)) for tag in parsed(text).select("section, .gw")
    } | {"all": len(text)}
    return first(parsed(text), "main")
