"""The seventh task: halve the rate of a queue, see the effect, put it back, and see who has done it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from jobqueue.dashboard.frame.texts import NONE
from tests.support.browser import axe, chromium
from tests.support.data.factories import add

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator

    from tests.acceptance.dashboard.conftest import House
    from tests.support.browser.chromium import Tab

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=30_000)
MOST_KEYS = 30
"""Presses of Tab from the beginning of the page to what is looked for."""


async def reach(tab: Tab, wanted: Locator) -> None:
    """Press Tab until the focus is on something; the number of presses is bounded."""
    for _ in range(MOST_KEYS):
        await tab.press("Tab")
        if await wanted.evaluate("node => node === document.activeElement"):
            return
    raise AssertionError(f"{MOST_KEYS} presses of Tab do not reach {wanted}")


async def rate(house: House, queue: str) -> Any:
    config, _ = await house.runtime.queues.tagged(queue)
    return config.rate and config.rate.wire()


async def test_the_rate_is_halved_and_put_back_by_keys_alone(house: House, browser: Browser) -> None:
    await house.runtime.queues.put("rated", {"rate": {"limit": 10, "per": 60}, "attempts": 5})
    for _ in range(41):
        await add(house.runtime, queue="rated")
    async with chromium.tab(browser, house.base) as tab:
        page = tab.page
        await tab.go("/queues/rated")
        await reach(tab, page.locator("#do-edit"))
        await tab.press("Enter")
        await page.wait_for_url("**/queues/rated/edit")
        field = page.locator("[id='f-rate.limit']")
        await reach(tab, field)
        assert await field.input_value() == "10"
        await page.keyboard.press("ControlOrMeta+a")
        await page.keyboard.type("5")
        await tab.press("Enter")
        # The effect, before anything is done: the focus is on the preview.
        await expect(page.locator("#looked tbody tr")).to_have_text("rate.limit105")
        await expect(page.locator("#effects")).to_contain_text("41 jobs wait. With these limits the last one starts in")
        await expect(page.locator("#effects")).to_contain_text("about 8 min; now in about 4 min.")
        assert await rate(house, "rated") == {"limit": 10, "per": 60}
        await axe.check_all(tab, "the preview")
        await reach(tab, page.get_by_role("button", name="Save 1 change"))
        await tab.press("Enter")
        await expect(page.locator("#said")).to_have_text("Saved: rate.")
        assert await rate(house, "rated") == {"limit": 5, "per": 60}
        assert (await house.runtime.queues.tagged("rated"))[0].attempts == 5
        # The author stands beside the change, and so does the way back.
        change = page.locator("tr", has_text="rate.limit 10 → 5")
        await expect(change).to_contain_text("nobody")
        await change.get_by_role("link", name="Put back").focus()
        await tab.press("Enter")
        await page.wait_for_url("**/edit?put=*")
        await expect(page.locator("#looked tbody tr")).to_have_text("rate.limit510")
        await reach(tab, page.get_by_role("button", name="Save 1 change"))
        await tab.press("Enter")
        await expect(page.locator("#said")).to_have_text("Saved: rate.")
        assert await rate(house, "rated") == {"limit": 10, "per": 60}
        await expect(page.locator("tr", has_text="rate.limit 5 → 10")).to_contain_text("nobody")
        # Back to the form that was saved: it is done already, and is not done again.
        await page.go_back()
        await expect(page.locator("h1")).to_have_text("Edit rated")
        assert await rate(house, "rated") == {"limit": 10, "per": 60}
        assert not tab.faults, tab.faults
    assert len(await house.runtime.audit.store.page("queue", "rated", limit=9)) == 3


async def test_two_people_and_a_double_click_lose_nothing_on_a_phone_without_scripts(
    house: House, browser: Browser
) -> None:
    await house.runtime.queues.put("both", {"concurrency": 4})
    async with (
        chromium.tab(browser, house.base, width=360, scripts=False) as mine,
        chromium.tab(browser, house.base, scripts=False) as theirs,
    ):
        for tab, field, text in ((mine, "concurrency", "2"), (theirs, "attempts", "9")):
            await tab.go("/queues/both/edit")
            await tab.page.locator(f"#f-{field}").fill(text)
            await tab.page.get_by_role("button", name="Look at the changes").first.click()
            await expect(tab.page.locator("#looked")).to_be_visible()
        # A nervous finger saves once.
        await theirs.page.get_by_role("button", name="Save 1 change").dblclick()
        await expect(theirs.page.locator("h1")).to_have_text("both")
        await mine.page.get_by_role("button", name="Save 1 change").click()
        await expect(mine.page.locator("#trouble")).to_contain_text("somebody has changed it")
        await expect(mine.page.locator("#meanwhile")).to_contain_text(f"attempts {NONE} → 9")
        assert await mine.page.locator("#f-concurrency").input_value() == "2"
        assert await mine.page.locator("#f-attempts").input_value() == "9"
        assert await mine.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        await mine.page.get_by_role("button", name="Look at the changes").first.click()
        await expect(mine.page.locator("#looked tbody tr")).to_have_count(1)
        await mine.page.get_by_role("button", name="Save 1 change").click()
        await expect(mine.page.locator("#said")).to_contain_text("Saved: concurrency.")
        # Loading the page again sends nothing.
        await mine.page.reload()
        # A browser notes the status of the clash, which is no fault of the page.
        assert all("412" in fault for fault in mine.faults), mine.faults
        assert not theirs.faults, theirs.faults
    config, _ = await house.runtime.queues.tagged("both")
    assert (config.concurrency, config.attempts) == (2, 9)
    changes = await house.runtime.audit.store.page("queue", "both", limit=9)
    assert [entry.action for entry in changes] == ["patch", "patch", "put"]


async def test_a_webhook_is_tested_by_a_button(house: House, browser: Browser) -> None:
    hook = {"kind": "webhook", "url": "http://127.0.0.1:9/hook"}
    await house.runtime.queues.put("hooked", {"processors": {"render": hook, "*": {"kind": "command", "name": "x"}}})
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/queues/hooked")
        await tab.page.get_by_role("link", name="Test the webhook of render").click()
        await tab.page.get_by_role("button", name="Send a ping").click()
        # Jobs may not reach this address either.
        await expect(tab.page.locator("#answer")).to_contain_text("127.0.0.1 has no public address")
        await axe.check_all(tab, "the answer to a ping")
        await tab.go("/queues/hooked/edit")
        await axe.check_all(tab, "the form of a queue with processors")


async def test_no_page_of_a_long_name_is_wider_than_its_window(house: House, browser: Browser) -> None:
    name = "w" * 100
    hook = {"kind": "webhook", "url": f"https://example.com/{'path' * 40}"}
    await house.runtime.queues.put(name, {"paused": True, "pauseReason": "y" * 200, "processors": {"t" * 100: hook}})
    async with chromium.tab(browser, house.base, width=360) as tab:
        for path in ("/queues", f"/queues/{name}", f"/queues/{name}/edit"):
            await tab.go(path)
            for width in (360, 1280):
                await tab.page.set_viewport_size({"width": width, "height": 800})
                wider = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wider <= 0, (path, width, wider)
            await tab.page.set_viewport_size({"width": 360, "height": 800})
