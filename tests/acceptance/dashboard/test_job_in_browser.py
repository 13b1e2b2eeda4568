"""One job in a browser: what one has to do to learn about it, and the log as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import chromium
from tests.support.data.factories import claimed_job
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
        await tab.page.get_by_text("new line", exact=True).wait_for()
        await eventually(is_at_end)
        await tab.page.mouse.move(600, 400)
        await tab.page.mouse.wheel(0, -900)
        await tab.page.locator("#live[data-state=paused]").wait_for()
        await say("unseen line")
        await tab.page.evaluate("scrollTo({top: 1e6, behavior: 'instant'})")
        await tab.page.get_by_text("unseen line").wait_for()
        await tab.page.locator("#live[data-state=live]").wait_for()
        assert not tab.faults
