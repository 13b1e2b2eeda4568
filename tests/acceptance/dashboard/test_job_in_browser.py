"""One job in a browser: what one has to do to learn about it, and the log as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import chromium
from tests.support.factories import claimed_job
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

IS_AT_END = "document.documentElement.scrollHeight - innerHeight - scrollY < 120"


async def test_a_growing_log_is_followed_until_one_scrolls_up(house: House, browser: Browser) -> None:
    claimed = await claimed_job(house.runtime, "talker", queue="talk", lease=3600.0)

    async def say(*lines: str) -> None:
        assert await house.runtime.work.report(claimed.job, claimed.token, lines=[(line, None) for line in lines])

    await say(*(f"line {number}" for number in range(300)))
    async with chromium.tab(browser, house.base) as tab:
        await tab.go(f"/jobs/{claimed.job.id}/log")

        async def is_at_end() -> bool:
            return bool(await tab.page.evaluate(IS_AT_END))

        await eventually(is_at_end)
        await eventually(lambda: house.runtime.events.readers >= 1)
        await say("new line")
        await tab.page.get_by_text("new line").wait_for()
        await eventually(is_at_end)
        await tab.page.mouse.move(600, 400)
        await tab.page.mouse.wheel(0, -900)
        await tab.page.locator("#live[data-state=paused]").wait_for()
        await say("unseen line")
        await tab.page.evaluate("scrollTo({top: 1e6, behavior: 'instant'})")
        await tab.page.get_by_text("unseen line").wait_for()
        await tab.page.locator("#live[data-state=live]").wait_for()
        assert not tab.faults


async def test_a_link_leads_to_a_line_of_a_long_log(house: House, browser: Browser) -> None:
    claimed = await claimed_job(house.runtime, "talker", queue="talks", lease=3600.0)
    for part in range(5):
        lines = [(f"line {part * 1000 + number + 1}", None) for number in range(1000)]
        assert await house.runtime.work.report(claimed.job, claimed.token, lines=lines)
    async with chromium.tab(browser, house.base) as tab:
        await tab.go(f"/jobs/{claimed.job.id}")
        await tab.page.get_by_role("link", name="Earlier lines").click()
        await tab.page.get_by_label("Line", exact=True).fill("3207")
        await tab.press("Enter")
        await tab.page.locator("#L3207").wait_for()
        await tab.page.locator("#L3207 a").first.click()
        await tab.page.wait_for_url("**/log?line=3207#L3207")
        assert await tab.page.locator("tr:target td").last.inner_text() == "line 3207"
        assert not tab.faults


async def test_why_a_job_waits_is_seen_without_a_click(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go(f"/jobs/{house.night.jobs['question']}")
        band = tab.page.locator("#why")
        assert "Waits for the signal" in await band.inner_text()
        box = await band.bounding_box()
        assert box is not None
        assert box["y"] < 300
