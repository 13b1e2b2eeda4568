"""Chromium, as Debian ships it, without a network of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Final

from playwright.async_api import async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, ConsoleMessage, Page, Request

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MS: Final = 30_000


def path() -> str:
    """Return the path of the browser: that of JOBQUEUE_TEST_CHROMIUM, or one on the PATH."""
    found = os.environ.get("JOBQUEUE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    assert found is not None, "there is no Chromium: scripts/setup test installs it, or set JOBQUEUE_TEST_CHROMIUM"
    return found


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start the browser."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path(), args=list(_ARGUMENTS))
        try:
            yield started
        finally:
            await started.close()


class Tab:
    """A tab, and all that must not happen in it.

    Attributes:
        faults: violations of the content security policy, errors of scripts, and requests to other hosts.
        requests: paths that the page has asked for.
        pressed: keys that were pressed so far.
    """

    def __init__(self, page: Page, base: str) -> None:
        self.page, self._base = page, base
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.pressed = 0
        page.set_default_timeout(_PATIENCE_MS)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("request", self._on_request)

    async def go(self, path: str) -> None:
        """Open a page of the server."""
        await self.page.goto(self._base + path)

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.pressed += 1
            await self.page.keyboard.press(key)

    async def open(self, address: str, *keys: str) -> None:
        """Press keys that lead to another page, whose address has the form of a glob."""
        await self.press(*keys)
        await self.page.wait_for_url(address)

    async def to_row(self, text: str) -> None:
        """Go down the list of the page, to the row with a text."""
        rows = self.page.locator("[data-list] > *")
        await rows.filter(has_text=text).first.wait_for()
        for _ in range(await rows.count()):
            await self.press("j")
            if text in await self.page.locator("[data-list] > .at").inner_text():
                return
        raise AssertionError(f"no row with {text}")

    async def focus(self) -> str:
        """Return the text, or the name, of what has the focus."""
        told: str = await self.page.evaluate("document.activeElement.innerText || document.activeElement.name || ''")
        return " ".join(told.split())

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self._base, "data:")):
            self.faults.append(f"request to {request.url}")
        self.requests.append(request.url.removeprefix(self._base))


@contextlib.asynccontextmanager
async def tab(
    started: Browser, base: str, *, width: int = 1280, theme: str = "light", scripts: bool = True
) -> AsyncIterator[Tab]:
    """Open a tab of a visitor in Berlin, with no cookies of others.

    Args:
        started: the browser.
        base: the address of the server.
        width: of the window, in pixels.
        theme: ``light`` or ``dark``.
        scripts: whether scripts run.
    """
    context = await started.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if theme == "dark" else "light",
        timezone_id="Europe/Berlin",
        java_script_enabled=scripts,
    )
    try:
        yield Tab(await context.new_page(), base)
    finally:
        await context.close()
