"""The list of jobs in a browser: rows that stay, states that change, ways there and back by keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import chromium
from tests.support.data.factories import add
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDS = "[...document.querySelectorAll('tbody tr')].map((row) => row.dataset.id)"


async def test_rows_stay_where_they_are_while_jobs_come_and_change(house: House, browser: Browser) -> None:
    job = await add(house.runtime, "live", queue="stay")
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/jobs?q=queue%3Dstay")
        assert await tab.page.evaluate(IDS) == [job.id]
        await tab.page.wait_for_function("document.getElementById('live').textContent === 'live'")
        for _ in range(2):
            await add(house.runtime, "live", queue="stay")
        await house.runtime.manager.kill(job.id, reason="not needed")
        await tab.page.wait_for_selector("#fresh:text('2 new')")
        await tab.page.wait_for_selector(".st.killed:text('killed')")
        assert await tab.page.evaluate(IDS) == [job.id]
        await tab.page.click("#fresh")
        await eventually(lambda: _has_rows(tab, 3))
        assert not tab.faults


async def test_a_job_is_found_and_opened_by_keys_and_knows_its_list(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/jobs")
        await tab.press("/")
        await tab.page.keyboard.type("queue=bil")
        await tab.page.wait_for_selector("#words option[value='queue=billing']", state="attached")
        await tab.page.keyboard.type("ling state=failed")
        await tab.press("Enter")
        await tab.page.wait_for_selector(".chip")
        await tab.press("j", "j")
        link = await tab.page.evaluate("document.activeElement.getAttribute('href')")
        assert link.endswith("?back=q%3Dqueue%253Dbilling%2Bstate%253Dfailed")
        assert link.split("/")[2][:24] == (await tab.page.evaluate(IDS))[1]


async def _has_rows(tab: chromium.Tab, number: int) -> bool:
    return len(await tab.page.evaluate(IDS)) == number
