"""Charts and counts in a browser: dragging looks closer, and the rail follows what happens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.attempts.attempt import JobError
from tests.support.browser import chromium
from tests.support.data.factories import claimed_job, fail
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.acceptance.dashboard.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_dragging_over_a_chart_shows_the_dragged_time(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/?window=24h")
        box = await tab.page.locator("#jobs-chart").bounding_box()
        assert box is not None
        mouse, x, y = tab.page.mouse, box["x"], box["y"] + 40
        await mouse.move(x + box["width"] / 4, y)
        await mouse.down()
        await mouse.move(x + box["width"] / 2, y, steps=4)
        await mouse.up()
        await tab.page.wait_for_url(re.compile(r"/\?from=[^&]+Z&to=[^&]+Z$"))
        assert not await tab.page.locator("#charts [aria-current]").count()
        assert not tab.faults, tab.faults


async def test_the_rail_follows_what_happens(house: House, browser: Browser) -> None:
    async with chromium.tab(browser, house.base) as tab:
        await tab.go("/workers")
        count = tab.page.locator("#count-f")
        before = await count.inner_text()
        claimed = await claimed_job(house.runtime, "new-kind", queue="rail", attempts=1)
        await fail(house.runtime, claimed, JobError(kind="Surprise", message="never seen before"))

        async def has_changed() -> bool:
            return await count.inner_text() not in {"", before}

        await eventually(has_changed)
        assert not tab.faults, tab.faults
