"""Replies in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
_T = TypeVar("_T")


def page_reply(
    items: Sequence[_T], most: int, form: Callable[[_T], dict[str, Any]], cursor: Callable[[_T], str]
) -> web.Response:
    """Return a page of items as a response, with the cursor of its last item if there are further items.

    Args:
        items: of the page; one more than ``most`` if there are further ones.
        most: items of the page.
        form: returns an item as JSON.
        cursor: returns the cursor after an item.
    """
    following = cursor(items[most - 1]) if len(items) > most else None
    return reply({"items": [form(item) for item in items[:most]], "next": following})


def reply(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
) -> web.Response:
    """Return a value as a JSON response."""
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type=media_type)
