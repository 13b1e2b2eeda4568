"""Answers in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


def reply(
    value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = JSON
) -> web.Response:
    """Return a value as a JSON response."""
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type=media_type)
