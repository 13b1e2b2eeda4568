"""Tasks of an operator, by keys alone: how many it takes from the overview to the answer, and the answer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.support.browser import accessible, chromium

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=30_000)
_POINTED = "addEventListener('pointerdown', () => sessionStorage.setItem('pointer', 'used'), true)"


async def test_why_a_job_does_not_run(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/")
        await tab.press("/")
        # As it is pasted from a chat.
        await tab.page.keyboard.insert_text(house.night.jobs["question"])
        await tab.press("Enter")
        await expect(tab.page.locator("#why")).to_contain_text("Waits for the signal decided until")
        assert not tab.faults


async def test_the_failed_jobs_of_a_customer_as_a_link(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/jobs")
        await tab.press("/")
        await tab.page.keyboard.type("state=failed,killed meta.customer_id=42 insertAt>=7d")
        await tab.press("Enter")
        rows = tab.page.locator("[data-list] > [data-id]")
        await expect(rows.first).to_contain_text("failed")
        link, count = tab.page.url, await rows.count()
        assert count >= 2
        assert not tab.faults
    async with chromium.tab(browser, house.base) as other:
        await other.go(link.removeprefix(house.base))
        await expect(other.page.locator("[data-list] > [data-id]")).to_have_count(count)


async def test_what_broke_and_why(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/")
        await tab.press("g", "f")
        await tab.page.wait_for_url("**/failures")
        await tab.press("j", "Enter")
        await tab.page.wait_for_url("**/failures/*")
        await expect(tab.page.locator("h1")).to_contain_text("pay.example answered")
        await expect(tab.page.locator("main")).to_contain_text("ConnectionError")
        assert not tab.faults


async def test_what_failed_in_a_batch_and_what_it_holds_up(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/")
        await tab.press("g", "b")
        await tab.page.wait_for_url("**/batches")
        await tab.press("j", "Enter")
        await tab.page.wait_for_url("**/batches/*")
        await expect(tab.page.locator(".why").first).to_contain_text("1 job failed and holds up 2 others")
        await tab.page.get_by_role("link", name="What failed and what waits for it").focus()
        await tab.press("Enter")
        graph = tab.page.locator("svg", has_text="merge").first
        await expect(graph).to_contain_text("merge")
        await expect(graph).not_to_contain_text("Ostwind-2")
        assert not tab.faults


async def test_whether_the_report_of_tonight_comes_in_my_time(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.page.add_init_script(_POINTED)
        opened: list[str] = []
        tab.page.on("framenavigated", lambda frame: opened.append(frame.url.removeprefix(house.base)))
        await tab.go("/")
        await tab.press("g", "s")
        await tab.page.wait_for_url("**/schedules")
        row = tab.page.locator("tr", has_text="nightly-report")
        await expect(row).to_contain_text("Mondays to Fridays at 02:30, Berlin")
        await expect(row).to_contain_text("02:30 in")
        await expect(row).to_contain_text("clocks go")
        assert opened == ["/", "/schedules"], "the answer is one step away"
        # An hour later, for a look only: the next ten starts, and those of the day on which clocks change.
        await row.get_by_role("link", name="Change…").focus()
        await tab.press("Enter")
        await tab.page.wait_for_url("**/schedules/nightly-report/edit")
        await tab.page.get_by_label("Cron expression").focus()
        await tab.press("Control+a")
        await tab.page.keyboard.type("30 3 * * *")
        await tab.press("Enter")
        starts = tab.page.locator("#starts")
        await expect(starts).to_contain_text("Every day at 03:30, Berlin")
        await expect(starts).to_contain_text("it runs at 03:30")
        await expect(starts.locator("ol li")).to_have_count(10)
        await expect(tab.page.locator("#changes")).to_contain_text('cron"30 2 * * 1-5""30 3 * * *"')
        assert await tab.page.get_by_role("button", name="Save the schedule").is_visible()
        await accessible.load(tab)
        await accessible.check(tab, "the preview of a schedule")
        await tab.page.set_viewport_size({"width": 360, "height": 800})
        await accessible.check(tab, "the preview of a schedule on a narrow screen")
        assert await tab.page.evaluate("sessionStorage.getItem('pointer')") is None
        assert not tab.faults
    stored = await house.runtime.schedules.get("nightly-report")
    assert stored.schedule is not None
    assert stored.schedule.wire()["cron"] == "30 2 * * 1-5"


async def test_what_waits_for_me_on_a_phone(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base, width=360) as tab:
        await tab.go("/")
        # One touch: the bar is below, where the thumb is.
        await tab.page.get_by_role("link", name="Waiting").click()
        await tab.page.wait_for_url("**/inbox")
        card = tab.page.locator(".card", has_text="refund").first
        await expect(card).to_contain_text("decided")
        await expect(card).to_contain_text("184000")
        box = await card.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 360
        assert not tab.faults
