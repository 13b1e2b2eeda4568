"""Take the pictures of the documentation from a real run: a night of jobs on a MongoDB of its own, in Chromium."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from aiohttp.test_utils import TestServer  # noqa: E402 - the tests have the night and the browser

from jobqueue.dashboard.app import make_app  # noqa: E402
from jobqueue.services.application import Runtime  # noqa: E402
from jobqueue.settings import Settings  # noqa: E402
from jobqueue.store.embedded.lifecycle import EmbeddedMongo  # noqa: E402
from tests.support.browser import chromium, night  # noqa: E402

if TYPE_CHECKING:
    from playwright.async_api import Browser, ViewportSize

PICTURES: Final = ROOT / "docs" / "pictures"
_WIDE: Final[ViewportSize] = {"width": 1280, "height": 800}
_LOW: Final[ViewportSize] = {"width": 1280, "height": 640}
"""Ends above the trace, which names folders of this machine."""


async def take(browser: Browser, base: str, name: str, path: str, *, dark: bool = False, size: ViewportSize) -> None:
    """Store the picture of a page."""
    context = await browser.new_context(
        viewport=size, color_scheme="dark" if dark else "light", timezone_id="Europe/Berlin"
    )
    page = await context.new_page()
    await page.goto(base + path)
    await page.locator("main").wait_for()
    await page.locator("main").wait_for()
    await page.screenshot(path=PICTURES / f"{name}.png")
    await context.close()


async def main(url: str) -> None:
    """Play the night, and take each picture."""
    settings = Settings.load({"mongo_url": url, "db": "screenshots"}, environ={}, cwd=ROOT)
    # Makes the indexes, which the queue of tests expects.
    await (await Runtime.open(settings)).close()
    played = await night.play(settings)
    runtime = await Runtime.open(settings)
    await runtime.start()
    # It shows that pages escape everything, which is no sight.
    await runtime.manager.delete(played.jobs["hostile"])
    server = TestServer(make_app(runtime, open_to_all=True))
    await server.start_server()
    try:
        base = str(server.make_url("/")).rstrip("/")
        async with chromium.browser() as browser:
            await take(browser, base, "overview", "/", size=_WIDE)
            await take(browser, base, "job", f"/jobs/{played.jobs['past']}", size=_WIDE)
            await take(browser, base, "failure", f"/failures/{played.failures[0]}", dark=True, size=_LOW)
    finally:
        await server.close()
        await runtime.close()


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jobqueue-pictures-", ignore_cleanup_errors=True) as directory:
        embedded = EmbeddedMongo.acquire(Path(directory))
        try:
            asyncio.run(main(embedded.url))
        finally:
            embedded.release()
    print(*sorted(str(path.relative_to(ROOT)) for path in PICTURES.glob("*.png")), sep="\n")
