"""Every page in a browser: nothing that its policy forbids, readable, reachable, narrow, and alive only while seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.dashboard.conftest import ADMIN
from tests.support.browser import axe, chromium
from tests.support.browser.visits import addresses
from tests.support.data.factories import add
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House
    from tests.support.browser.chromium import Tab

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTS = 3
"""The pages take long together."""
TABS = 20
HIDE = (
    "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    "document.dispatchEvent(new Event('visibilitychange'))"
)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", range(PARTS))
async def test_every_page_is_accessible_and_keeps_to_its_policy(house: House, browser: Browser, part: int) -> None:
    async with chromium.tab(browser, house.base) as tab:
        for path in list(addresses(house.night))[part::PARTS]:
            await tab.go(path)
            await axe.check_all(tab, path)


async def test_every_page_is_readable_without_scripts(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base, scripts=False) as tab:
        for path in addresses(house.night):
            await tab.go(path)
            assert await tab.page.locator("h1").first.is_visible(), path
            assert not tab.faults, (path, tab.faults)


async def test_keys_go_to_pages(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/workers")
        await tab.press("?")
        assert await tab.page.locator("#keys").is_visible()
        await tab.press("Escape", "t")
        assert await tab.page.locator("html").get_attribute("data-theme") == "dark"
        await tab.press("/")
        assert await tab.page.evaluate("document.activeElement.id") == "find"
        await tab.press("Escape", "g", "w")
        await tab.page.wait_for_url("**/workers")
        assert await tab.page.locator("html").get_attribute("data-theme") == "dark"


async def test_one_stream_while_the_page_is_seen_and_none_while_it_is_hidden(house: House, browser: Browser) -> None:
    events = house.runtime.events
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/workers")
        await eventually(lambda: events.readers == 1)
        await tab.page.evaluate(HIDE % "true")
        await eventually(lambda: events.readers == 0)
        before = _fetched(tab)
        await add(house.runtime, "seen", queue="live")
        await tab.page.evaluate(HIDE % "false")
        await eventually(lambda: events.readers == 1)
        await eventually(lambda: _fetched(tab) > before)
        assert await tab.page.locator("#live").inner_text() == "live"
        await tab.press(".")
        await eventually(lambda: events.readers == 0)
        assert await tab.page.locator("#live").inner_text() == "paused"


async def test_twenty_tabs_of_a_night_are_live_in_the_morning(house: House, browser: Browser) -> None:
    events = house.runtime.events
    async with chromium.tab(browser, house.base) as tab:
        pages = [await tab.page.context.new_page() for _ in range(TABS)]
        asked: list[str] = []
        for page in pages:
            await page.goto(f"{house.base}/jobs?q=queue%3Dnightly")
            await page.evaluate(HIDE % "true")
            page.on("request", lambda request: asked.append(request.url))
        await eventually(lambda: events.readers == 0)
        await tab.go("/jobs?q=queue%3Dnightly")
        await eventually(lambda: events.readers == 1)
        before = _pages(asked)
        await add(house.runtime, "overnight", queue="nightly")
        # Who looks sees the job; a tab at which nobody looks asks for nothing.
        await tab.page.get_by_text("1 new").or_(tab.page.get_by_text("overnight")).first.wait_for()
        assert _pages(asked) == before
        await tab.page.evaluate(HIDE % "true")
        for page in pages:
            await page.evaluate(HIDE % "false")
            await (
                page.locator("#fresh, [data-list]")
                .get_by_text("1 new")
                .or_(page.get_by_text("overnight"))
                .first.wait_for()
            )
            assert await page.locator("#live").inner_text() == "live"
            await page.evaluate(HIDE % "true")
        await eventually(lambda: events.readers == 0)
        await house.runtime.jobs.collection.delete_many({"queue": "nightly"})


async def test_a_link_from_elsewhere_needs_no_new_login_and_a_form_from_there_does_nothing(
    house: House, browser: Browser
) -> None:
    job = await add(house.runtime, "linked", queue="linked")
    async with chromium.tab(browser, house.guarded) as tab:
        await tab.go("/login")
        await tab.page.get_by_label("Token").fill(ADMIN)
        await tab.open("**/", "Enter")
        # A page of no site, as a chat or a mail may be.
        await tab.page.goto("about:blank")
        await tab.page.set_content(f"<a href='{house.guarded}/jobs/{job.id}'>Look</a>")
        await tab.page.get_by_text("Look").click()
        await tab.page.wait_for_url(f"**/jobs/{job.id}")
        assert "linked" in await tab.page.locator("h1").inner_text()
        await tab.page.goto("about:blank")
        action = f"{house.guarded}/jobs/{job.id}/kill"
        await tab.page.set_content(f"<form method='post' action='{action}'><button>Send</button></form>")
        await tab.page.get_by_text("Send").click()
        await tab.page.wait_for_url(f"{house.guarded}/**")
        assert (await house.runtime.jobs.get(job.id)).state == "pending"
    await house.runtime.manager.kill(job.id)


def _pages(asked: list[str]) -> int:
    return sum("/jobs?" in url for url in asked)


def _fetched(tab: Tab) -> int:
    return tab.requests.count("/workers")
