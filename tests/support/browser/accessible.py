"""Checks of pages as axe and a narrow window see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.support.browser.chromium import Tab

_AXE: Final = Path(__file__).parent / "vendor/axe.min.js"


async def load(tab: Tab) -> None:
    """Add the checker to a page; the debugger does it, so that the policy of the page does not refuse it."""
    await tab.page.evaluate(_AXE.read_text())


async def check(tab: Tab, path: str, rules: str = "") -> None:
    """Check a page that has the checker: no violation, nothing wider than the window, nothing refused."""
    found = await tab.page.evaluate(f"axe.run(document, {{resultTypes: ['violations']{rules}}})")
    assert not found["violations"], (path, _told(found["violations"]))
    wider = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0, f"{path} is {wider} pixels wider than the window"
    assert not await tab.page.evaluate("'pwned' in window || document.querySelector('img[src=x]') !== null")
    assert not tab.faults, (path, tab.faults)


def _told(violations: list[dict[str, Any]]) -> str:
    kinds = [
        {
            "rule": each["id"],
            "why": each["nodes"][0]["failureSummary"],
            "at": [node["html"][:200] for node in each["nodes"][:3]],
        }
        for each in violations
    ]
    return json.dumps(kinds, indent=1)
