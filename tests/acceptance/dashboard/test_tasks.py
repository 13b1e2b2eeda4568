"""Tasks of an operator who looks for something, by keys alone: how many it takes, and the answer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bson import ObjectId
from playwright.async_api import expect

from jobqueue.domain.jobs.job import INLINE_LOGS
from tests.support.browser import axe, chromium
from tests.support.data.factories import claimed_job

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=30_000)
LINES = 100_000
_POINTED = "addEventListener('pointerdown', () => sessionStorage.setItem('pointer', 'used'), true)"


@pytest.mark.parametrize("width", [1280, 360])
async def test_why_a_job_does_not_run(house: House, browser: Browser, width: int) -> None:
    async with chromium.tab(browser, house.base, width=width) as tab:
        await tab.go("/")
        await tab.press("/")
        # As it is pasted from a chat.
        await tab.page.keyboard.insert_text(house.night.jobs["question"])
        await tab.press("Enter")
        band = tab.page.locator("#why")
        await expect(band).to_contain_text("Waits for the signal decided until")
        box = await band.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 800, "without scrolling"
        assert tab.pressed <= 2
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
        assert (count >= 2, tab.pressed) == (True, 2)
        assert not tab.faults
    async with chromium.tab(browser, house.base) as other:
        await other.go(link.removeprefix(house.base))
        await expect(other.page.locator("[data-list] > [data-id]")).to_have_count(count)


async def test_a_link_to_a_line_of_a_very_long_log(house: House, browser: Browser) -> None:
    runtime = house.runtime
    claimed = await claimed_job(runtime, "talker", queue="talks", lease=3600.0)
    said = [(f"line {number}", None) for number in range(1, INLINE_LOGS + 1)]
    assert await runtime.work.report(claimed.job, claimed.token, lines=said)
    # As reports leave them, without a hundred reports.
    job_id, now = ObjectId(claimed.job.id), await runtime.database.clock.now()
    line = {"jobId": job_id, "t": now, "attempt": 1, "level": None}
    others = [line | {"_id": ObjectId(), "seq": at, "m": f"line {at + 1}"} for at in range(INLINE_LOGS, LINES)]
    await runtime.database.collection("logs").insert_many(others, ordered=False)
    await runtime.jobs.collection.update_one({"_id": job_id}, {"$set": {"logCount": LINES, "logAt": now}})
    async with chromium.tab(browser, house.base) as tab:
        await tab.go(f"/jobs/{job_id}")
        await tab.open("**/log", "l")
        await expect(tab.page.locator("#lines")).to_contain_text(f"line {LINES}")
        await tab.press("l")
        await tab.page.keyboard.type("71203")
        await tab.press("Enter")
        await tab.page.locator("#L71203 a").first.focus()
        await tab.press("Enter")
        await tab.page.wait_for_url("**/log?line=71203#L71203")
        assert await tab.page.locator("tr:target td").last.inner_text() == "line 71203"
        assert len(await tab.page.content()) < 200_000, "only what is seen is in the page"
        assert (tab.pressed, tab.faults) == (4, [])
    await runtime.database.collection("logs").delete_many({"jobId": job_id})


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
        assert tab.pressed <= 2
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
        await axe.check_all(tab, "the preview of a schedule")
        assert await tab.page.evaluate("sessionStorage.getItem('pointer')") is None
        assert not tab.faults
    stored = await house.runtime.schedules.get("nightly-report")
    assert stored.schedule is not None
    assert stored.schedule.wire()["cron"] == "30 2 * * 1-5"
