"""Requests that are to be done only if nothing has changed (RFC 9110)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from jobqueue.domain.errors import ChangedMeanwhileError

if TYPE_CHECKING:
    from aiohttp import web


def if_match(request: web.Request, kind: str, name: str) -> str | None:
    """Return the tag in ``If-Match``, if the request has one that does not allow anything.

    Args:
        request: may have the header.
        kind: of what is to be changed, for the error.
        name: of it.

    Raises:
        ChangedMeanwhileError: it has none that could match.
    """
    given = request.headers.get(hdrs.IF_MATCH)
    if given is None or given.strip() == "*":
        return None
    tags = [one.strip() for one in given.split(",")]
    if len(tags) != 1 or not (len(tags[0]) > 1 and tags[0].startswith('"') and tags[0].endswith('"')):
        raise ChangedMeanwhileError(kind, name)
    return tags[0][1:-1]
