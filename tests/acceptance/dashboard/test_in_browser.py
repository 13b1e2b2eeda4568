"""Every page in a browser: nothing that its policy forbids, readable, reachable, narrow, and alive only while seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import accessible, chromium
from tests.support.browser.visits import addresses
from tests.support.factories import add
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House
    from tests.support.browser.chromium import Tab

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTS = 3
"""The pages take long together."""
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
            await accessible.load(tab)
            await accessible.check(tab, path)
            await tab.page.emulate_media(color_scheme="dark")
            await accessible.check(tab, f"{path} in the dark", ", runOnly: ['color-contrast', 'link-in-text-block']")
            await tab.page.emulate_media(color_scheme="light")
            await tab.page.set_viewport_size({"width": 360, "height": 800})
            await accessible.check(tab, f"{path} on a narrow screen")
            await tab.page.set_viewport_size({"width": 1280, "height": 800})


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


async def test_many_tabs_share_the_work_of_the_server(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        pages = [await tab.page.context.new_page() for _ in range(5)]
        for page in pages:
            await page.goto(f"{house.base}/workers")
        await eventually(lambda: house.runtime.events.readers == 5)
        for page in pages:
            await page.evaluate(HIDE % "true")
        await eventually(lambda: house.runtime.events.readers == 0)
        for page in pages:
            await page.evaluate(HIDE % "false")
        await eventually(lambda: house.runtime.events.readers == 5)
        assert [await page.locator("#live").inner_text() for page in pages] == ["live"] * 5


def _fetched(tab: Tab) -> int:
    return tab.requests.count("/workers")
