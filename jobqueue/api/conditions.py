"""Requests that are to be done only if nothing has changed (RFC 9110)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

if TYPE_CHECKING:
    from aiohttp import web

_WEAK_TAG: Final = re.compile(r'(?:^|,)\s*(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_TAG: Final = re.compile(r'(?:^|,)\s*"([\x21\x23-\x7e\x80-\xff]*)"')


def if_match(request: web.Request) -> frozenset[str] | None:
    """Return the strong tags in ``If-Match``, one of which has to be the present one; ``None`` for any."""
    given = request.headers.getall(hdrs.IF_MATCH, [])
    if not given or any(one.strip() == "*" for one in given):
        return None
    return frozenset(_TAG.findall(",".join(given)))


def if_none_match(request: web.Request) -> frozenset[str] | None:
    """Return the tags in ``If-None-Match``, weak ones too, of what the caller knows; ``None`` without any."""
    given = request.headers.getall(hdrs.IF_NONE_MATCH, [])
    return frozenset(_WEAK_TAG.findall(",".join(given))) or None
