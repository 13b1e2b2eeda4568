"""Rules for every page of the table; a page that is added is tried too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from jobqueue.dashboard.table import TABLE
from tests.support.browser import night
from tests.support.browser.html import parsed, words
from tests.support.browser.visits import addresses

if TYPE_CHECKING:
    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = {"Accept": "text/html"}
MOST_BYTES = 60 * 1024
# What only jobs of other queues have, and only jobs of another customer.
FOREIGN = {
    "queue": ("import-csv", "Nordhandel", "pay.example", "refund", "nightly-report", "hostile"),
    "meta": ("import-csv", "Nordhandel", "Vallée", "nightly-report", "hostile"),
}


async def test_every_page_is_small_and_says_what_it_is(house: House) -> None:
    async with aiohttp.ClientSession(house.base, headers=PAGE) as session:
        for path in addresses(house.night):
            async with session.get(path) as reply:
                text = await reply.text()
                assert reply.status == 200, (path, words(parsed(text)))
                assert len(text.encode()) <= MOST_BYTES, (path, len(text.encode()))
                tree = parsed(text)
                assert tree.select_one("h1"), path
                assert not tree.select("[style], style, script:not([src])"), path
                ids = [str(tag["id"]) for tag in tree.select("[id]")]
                assert len(ids) == len(set(ids)), (path, sorted(name for name in ids if ids.count(name) > 1))


async def test_every_value_is_escaped_on_every_page(house: House) -> None:
    told = 0
    async with aiohttp.ClientSession(house.base, headers=PAGE) as session:
        for path in addresses(house.night):
            async with session.get(path) as reply:
                text = await reply.text()
            assert "<img src=x" not in text, path
            assert "<script>pwned" not in text, path
            assert "{{7*7}}" in text or "49" not in text or night.HOSTILE[:10] not in text, path
            tree = parsed(text)
            assert not tree.select("a[href^='javascript:'], [onerror], [onload], img[src=x]"), path
            told += night.HOSTILE in tree.get_text()
    assert told >= 1, "no page shows the hostile job"


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_limited_token_finds_nothing_foreign_on_any_page(house: House, kind: str) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    seen = 0
    async with aiohttp.ClientSession(house.guarded, headers=PAGE, cookie_jar=jar) as session:
        await session.post("/login", data={"token": house.tokens[kind]})
        for path in addresses(house.night):
            async with session.get(path) as reply:
                text = await reply.text()
                assert reply.status in {200, 403, 404}, (path, reply.status)
                seen += reply.status == 200
            main = words(parsed(text).select_one("main") or parsed(text))
            for word in FOREIGN[kind]:
                assert word not in main, (path, word, main)
    assert seen >= 1


async def test_a_stranger_sees_no_page(house: House) -> None:
    async with aiohttp.ClientSession(house.guarded, headers=PAGE) as session:
        for path in addresses(house.night):
            async with session.get(path, allow_redirects=False) as reply:
                assert reply.status == 303, path
                assert reply.headers["Location"].startswith("/login?next="), path


async def test_a_role_that_may_not_read_sees_no_page(house: House) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(house.guarded, headers=PAGE, cookie_jar=jar) as session:
        await session.post("/login", data={"token": house.tokens["enqueue"]})
        for page in TABLE:
            if "{" not in page.path:
                async with session.get(page.path) as reply:
                    assert reply.status == 403, page.path
                    assert "needs the role" in await reply.text()


async def test_a_wrong_name_is_not_found_and_a_wrong_query_is_told(house: House) -> None:
    wrong = {"{id}": ["0" * 24, "x", "%00", "..%2f"], "{fp}": ["0" * 16, "x"], "{name}": ["nothing", "a%2fb", "%00"]}
    async with aiohttp.ClientSession(house.base, headers=PAGE) as session:
        for page in TABLE:
            for mark, names in wrong.items():
                for name in names if mark in page.path else ():
                    path = page.path.replace(mark, name)
                    async with session.get(path) as reply:
                        assert reply.status in {404, 422, 400}, (path, reply.status)
                        assert reply.content_type == "text/html", path
        for path in addresses(house.night):
            for query in (
                "cursor=!!",
                "q=%00%ff",
                "q=meta.%24where%3d1",
                "limit=-1",
                "from=yesterday&to=x",
                "cols=%3cscript%3e",
            ):
                async with session.get(f"{path}?{query}") as reply:
                    assert reply.status in {200, 400, 404, 422}, (path, query, reply.status)
