"""Forms of pages, filled in and sent as a browser does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.support.browser.html import first, parsed

if TYPE_CHECKING:
    from aiohttp import ClientResponse, web
    from aiohttp.test_utils import TestClient
    from bs4 import Tag

    Client = TestClient[web.Request, web.Application]

PAGE: Final = {"Accept": "text/html"}
OWN: Final = {**PAGE, "Sec-Fetch-Site": "same-origin"}


def fields(form: Tag) -> dict[str, str]:
    """Return what a form sends if nobody types anything."""
    values = {str(tag["name"]): str(tag.get("value", "")) for tag in form.select("input[name]") if _is_sent(tag)}
    for area in form.select("textarea[name]"):
        # The first line break belongs to the tag.
        values[str(area["name"])] = area.get_text().removeprefix("\n")
    for choice in form.select("select[name]"):
        chosen = choice.select_one("option[selected]") or first(choice, "option")
        values[str(choice["name"])] = str(chosen["value"])
    return values


async def opened(client: Client, path: str, form: str = "main form[method=post]") -> dict[str, str]:
    """Return the fields of a form of a page."""
    reply = await client.get(path, headers=PAGE)
    text = await reply.text()
    assert reply.status == 200, text[:2000]
    return fields(first(parsed(text), form))


async def send(client: Client, path: str, values: dict[str, str], **headers: str) -> ClientResponse:
    """Send a form as a page of the server does, and do not follow where it leads."""
    return await client.post(path, data=values, headers={**OWN, **headers}, allow_redirects=False)


def _is_sent(tag: Tag) -> bool:
    return tag.get("type") != "checkbox" or tag.has_attr("checked")
