"""The frame of all pages: replies, entity tags, problems, preferences, files."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame import answer
from jobqueue.dashboard.frame.page import RAIL
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, parsed, words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

PAGE = {"Accept": "text/html"}
PART = {"HX-Request": "true"}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def test_the_root_is_the_list_of_routes_but_for_browsers(client: Client) -> None:
    for accept in ("*/*", "application/json", "application/json, text/html"):
        reply = await client.get("/", headers={"Accept": accept})
        assert reply.content_type == "application/json", accept
        assert "GET /v1/jobs" in (await reply.json())["routes"]
        assert reply.headers["Vary"] == "Accept"


async def test_an_open_server_needs_no_login_and_says_so(client: Client) -> None:
    page = await client.get("/workers", headers=PAGE)
    assert page.status == 200
    assert "no login needed" in words(first(parsed(await page.text()), ".top"))
    assert (await client.get("/login", allow_redirects=False)).headers["Location"] == "/"


async def test_an_unchanged_page_is_not_sent_again(client: Client, idle_runtime: Runtime) -> None:
    page = await client.get("/workers", headers=PART)
    tag = {"If-None-Match": page.headers["ETag"]}
    assert (await client.get("/workers", headers={**PART, **tag})).status == 304
    assert (await client.get("/workers", headers=tag)).status == 200, "the whole page is another form"
    idle_runtime.registry.heard("polling:1", "default", None)
    await idle_runtime.registry.run_once()
    # Another address of the same page, as this one is kept for a second.
    assert (await client.get("/workers?again", headers={**PART, **tag})).status == 200


async def test_visitors_share_no_page_and_a_visitor_renders_one_a_second() -> None:
    now = [0.0]
    pages, made = answer.Pages(lambda: now[0]), []

    async def make() -> str:
        made.append(1)
        return f"page {len(made)}"

    assert (await pages.get(("/", "ann"), make))[0] == "page 1"
    assert (await pages.get(("/", "ann"), make))[0] == "page 1"
    assert (await pages.get(("/", "bob"), make))[0] == "page 2"
    now[0] += answer.KEPT_SECONDS * 1.5
    assert (await pages.get(("/", "ann"), make))[0] == "page 3"


async def test_the_age_of_things_does_not_change_a_page() -> None:
    pages = answer.Pages(lambda: 0.0)
    texts = iter(
        [
            '<time datetime="x" data-t="r">1 s ago</time>',
            '<time datetime="x" data-t="r">2 s ago</time>',
            "<time>2 s</time>",
        ]
    )

    async def make() -> str:
        return next(texts)

    tags = [(await pages.get((number,), make))[1] for number in range(3)]
    assert tags[0] == tags[1] != tags[2]


async def test_a_part_is_the_inner_part_of_the_same_page(client: Client) -> None:
    whole = parsed(await (await client.get("/workers", headers=PAGE)).text())
    part = await (await client.get("/workers", headers=PART)).text()
    assert words(first(whole, "main")) in words(parsed(part))
    assert "<html" not in part


async def test_problems_are_pages_for_browsers_and_problems_for_programs(client: Client) -> None:
    page = await client.get("/no/such/page", headers=PAGE)
    assert (page.status, page.content_type) == (404, "text/html")
    assert "Not found" in words(first(parsed(await page.text()), "h1"))
    assert (await client.get("/no/such/page")).content_type == "application/problem+json"
    assert (await client.get("/v1/jobs/0", headers=PAGE)).content_type == "application/problem+json"


async def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_of_its_own(client: Client) -> None:
    page = await client.get("/workers", headers=PAGE)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = await page.text()
    tree = parsed(text)
    assert not tree.select("[style], style, script:not([src])")
    assert not re.search(r"<[^>]+\son\w+=", text)
    for tag in tree.select("[src], link[href]"):
        assert str(tag.get("src") or tag.get("href")).startswith("/static/")


async def test_files_are_kept_by_browsers_until_they_change(client: Client) -> None:
    tree = parsed(await (await client.get("/workers", headers=PAGE)).text())
    paths = [str(tag.get("src") or tag.get("href")) for tag in tree.select("[src], link[href]")]
    assert len(paths) >= 6
    for path in paths:
        reply = await client.get(path)
        assert reply.status == 200
        assert "immutable" in reply.headers["Cache-Control"]
        assert "immutable" not in (await client.get(path.partition("?")[0])).headers["Cache-Control"]
    assert (await client.get("/static/nothing.js")).status == 404
    assert (await client.get("/static/..%2fapp.py")).status == 404


def test_the_style_and_the_scripts_stay_small() -> None:
    static = files("jobqueue.dashboard").joinpath("static")
    assert len(static.joinpath("style.css").read_bytes()) <= 16 * 1024


async def test_preferences_are_kept_and_wrong_ones_are_not(client: Client) -> None:
    reply = await client.get("/preferences?zone=Asia/Tokyo&theme=dark&back=/workers", allow_redirects=False)
    assert (reply.status, reply.headers["Location"]) == (303, "/workers")
    tree = parsed(await (await client.get("/workers", headers=PAGE)).text())
    assert first(tree, "html")["data-theme"] == "dark"
    assert "Tokyo" in words(first(tree, "#zone"))
    for query in ("zone=Nowhere/Town", "zone=../../etc/passwd", "zone=", "theme=purple", "theme="):
        reply = await client.get(f"/preferences?{query}", allow_redirects=False)
        assert reply.status == 303
        assert not reply.cookies, query
    client.session.cookie_jar.clear()
    tree = parsed(
        await (await client.get("/workers", headers={**PAGE, "Cookie": "jobqueue_zone=%00; jobqueue_theme=x"})).text()
    )
    assert "UTC" in words(first(tree, "#zone"))


async def test_every_entry_of_the_rail_has_its_own_key() -> None:
    assert len({entry.key for entry in RAIL}) == len(RAIL)


async def test_a_role_that_is_missing_is_told(idle_runtime: Runtime) -> None:
    _, text = await idle_runtime.access.create(roles=["enqueue"], by=Actor(name="test", via="python"))
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        await client.post("/login", data={"token": text})
        page = await client.get("/workers", headers=PAGE)
        assert page.status == 403
        assert "needs the role read" in words(parsed(await page.text()))
