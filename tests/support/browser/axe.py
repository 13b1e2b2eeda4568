"""Pages checked by axe-core: accessible, no wider than the window, and without what their policy forbids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.support.browser.chromium import Tab

_AXE: Final = Path(__file__).parent / "vendor/axe.min.js"
_COLOURS: Final = ", runOnly: ['color-contrast', 'link-in-text-block']"


async def check_all(tab: Tab, name: str) -> None:
    """Check the page of a tab in light, in the dark, and on a narrow screen.

    Args:
        tab: 1,280 pixels wide.
        name: of the page, for messages.
    """
    # The debugger adds the checker, so that the policy of the page does not refuse it.
    await tab.page.evaluate(_AXE.read_text())
    await _check(tab, name)
    await tab.page.emulate_media(color_scheme="dark")
    await _check(tab, f"{name} in the dark", _COLOURS)
    await tab.page.emulate_media(color_scheme="light")
    await tab.page.set_viewport_size({"width": 360, "height": 800})
    await _check(tab, f"{name} on a narrow screen")
    await tab.page.set_viewport_size({"width": 1280, "height": 800})


async def _check(tab: Tab, name: str, rules: str = "") -> None:
    found = await tab.page.evaluate(f"axe.run(document, {{resultTypes: ['violations']{rules}}})")
    assert not found["violations"], (name, _told(found["violations"]))
    wider = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0, f"{name} is {wider} pixels wider than the window"
    assert not await tab.page.evaluate("'pwned' in window || document.querySelector('img[src=x]') !== null")
    assert not tab.faults, (name, tab.faults)


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
