"""A long query leaves the list of jobs small, and is carried out or refused with the reason."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from jobqueue.dashboard.app import make_app
from jobqueue.domain.search.terms import LONGEST_QUERY
from tests.support.browser.visit import MOST_BYTES
from tests.support.data.factories import finished_documents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    await idle_runtime.jobs.collection.insert_many(finished_documents(60))
    server = TestServer(make_app(idle_runtime))
    # As `jobqueue serve` takes them.
    await server.start_server(max_line_size=16 * 1024, max_field_size=16 * 1024)
    async with TestClient(server) as client:
        yield client


async def page(client: Client, url: URL) -> str:
    async with client.get(url, headers={"Accept": "text/html"}, allow_redirects=False) as reply:
        text = await reply.text()
    assert reply.status == 200
    assert len(text.encode()) <= MOST_BYTES
    return text


async def test_pages_of_long_queries_are_small(client: Client) -> None:
    for query in (
        "type!=" + "<" * 1990,
        'type!="' + '\\"' * 990 + '"',
        "type!=" + "😀" * 440,
        '{"type": {"$ne": "' + "x" * 1900 + '"}}',
    ):
        text = await page(client, URL("/jobs").with_query(q=query, sort="insertAt"))
        assert text.count("data-id=") >= 10
        assert html.unescape(str(re.search(r'id="query"[^>]* value="([^"]*)"', text)[1])) == query.strip()  # type: ignore[index]  # None fails the test
        onward = re.search(r'href="([^"]*cursor=[^"]*)"', text)
        assert onward is not None
        assert "data-id=" in await page(client, URL(html.unescape(onward[1]), encoded=True))


async def test_a_query_that_is_too_long_says_so(client: Client) -> None:
    for query, reason in (
        ("x" * 4000, f"is longer than {LONGEST_QUERY:,} characters"),
        ("type!=" + "😀" * 1200, "takes too many bytes in an address"),
    ):
        text = await page(client, URL("/jobs").with_query(q=query))
        assert f"The query {reason}" in text


async def test_other_parameters_do_not_make_the_page_long(client: Client) -> None:
    for name, value in (("tall", "<" * 4000), ("count", "<" * 4000), ("slow", "<" * 4000), ("cols", "type," * 800)):
        assert "data-id=" in await page(client, URL("/jobs").with_query({"q": "state=success", name: value}))
