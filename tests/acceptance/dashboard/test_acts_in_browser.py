"""Actions in a browser: by keys alone, with a form that is sent twice, and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.support.browser import chromium
from tests.support.data.factories import add

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

expect.set_options(timeout=30_000)
_SUBMITTED_TWICE = """() => [1, 2].map(() => document.querySelector("main form").dispatchEvent(
    new SubmitEvent("submit", {bubbles: true, cancelable: true})))"""


async def test_selected_jobs_are_killed_by_keys_alone(house: House, browser: Browser) -> None:
    jobs = [await add(house.runtime, "selected", queue="acts-many") for _ in range(3)]
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/jobs?q=queue%3Dacts-many")
        await tab.press("j", "x", "j", "x")
        assert await tab.page.locator("[data-list] :checked").count() == 2
        await tab.page.get_by_role("button", name="Kill…").focus()
        await tab.press("Enter")
        await expect(tab.page.locator("h1")).to_have_text("Kill 2 jobs?")
        # While a form is under way a second click sends nothing: behind a proxy it could reach another server.
        assert await tab.page.evaluate(_SUBMITTED_TWICE) == [True, False]
        await tab.page.reload()
        await tab.page.get_by_label("Reason").focus()
        await tab.page.keyboard.type("by keys")
        await tab.press("Enter")
        await tab.page.wait_for_url("**/operations/*")
        assert not tab.faults
    while await house.runtime.operations.run_once() is not None:
        pass
    assert sorted([str((await house.runtime.jobs.get(job.id)).state) for job in jobs]) == [
        "killed",
        "killed",
        "pending",
    ]


async def test_the_row_that_the_keys_are_at_and_what_is_selected_outlive_news(house: House, browser: Browser) -> None:
    first = await add(house.runtime, "newsworthy", queue="acts-news")
    await add(house.runtime, "newsworthy", queue="acts-news")
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/jobs?q=queue%3Dacts-news")
        await tab.press("j", "x")
        await house.runtime.manager.kill(first.id)
        await expect(tab.page.locator("[data-list] .killed")).not_to_have_count(0)
        await tab.press("j", "x")
        await expect(tab.page.locator("[data-list] :checked")).to_have_count(2)
        assert not tab.faults


async def test_a_job_is_requeued_with_changes_without_scripts(house: House, browser: Browser) -> None:
    job = await add(house.runtime, "mend", queue="acts-mend", data={"decimal": "."})
    await house.runtime.manager.kill(job.id)
    async with chromium.tab(browser, house.base, scripts=False) as tab:
        await tab.go(f"/jobs/{job.id}")
        await tab.page.locator("#do-requeue").click()
        await tab.page.get_by_label("Data, as JSON").fill('{"decimal": ","}')
        await tab.page.get_by_role("button", name="Requeue").click()
        await expect(tab.page.locator("#changes")).to_contain_text('decimal"."","')
        assert (await house.runtime.jobs.get(job.id)).state == "killed"
        await tab.page.get_by_role("button", name="Requeue with these changes").click()
        await expect(tab.page.locator("#said")).to_contain_text("The job was requeued.")
        # Where the form has led nothing is sent again.
        await tab.page.reload()
        assert not tab.faults
    again = await house.runtime.jobs.get(job.id)
    assert (again.state, again.data) == ("pending", {"decimal": ","})
