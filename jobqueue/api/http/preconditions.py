"""Requests that are to be done only if nothing has changed (RFC 9110, section 13)."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.problems import Problem, ProblemError
from jobqueue.domain.access.preconditions import Preconditions
from jobqueue.domain.errors import ChangedMeanwhileError

_ONE: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"'
_LIST: Final = re.compile(rf"[ \t,]*{_ONE}(?:[ \t]*,[ \t,]*{_ONE})*[ \t,]*")
_TAG: Final = re.compile(r'(W/)?"([^"]*)"')


def preconditions(request: web.Request) -> Preconditions:
    """Return the conditions of a request.

    ``If-Match`` compares strongly: a weak tag never matches. ``If-None-Match`` compares weakly.

    Raises:
        ProblemError: 400 naming the header that is neither ``*`` nor a list of entity tags.
    """
    match, none_match = _read(request, hdrs.IF_MATCH), _read(request, hdrs.IF_NONE_MATCH)
    return Preconditions(
        match=None if match in {None, "*"} else frozenset(tag for weak, tag in _TAG.findall(match or "") if not weak),
        match_any=match == "*",
        none_match=None if none_match in {None, "*"} else frozenset(tag for _, tag in _TAG.findall(none_match or "")),
        none_match_any=none_match == "*",
    )


def refuse_conditions(request: web.Request) -> None:
    """Refuse conditions that cannot hold for what is there and has no tag: ignored, they would protect nothing.

    Raises:
        ProblemError: 412, or 400 as `preconditions`.
    """
    only = preconditions(request)
    if only.match is not None or only.none_match_any:
        raise ProblemError(
            Problem(
                status=412,
                slug="changed-meanwhile",
                title="Changed meanwhile",
                detail="what this request is about has no ETag: leave out If-Match and If-None-Match",
            )
        )


def answered(thing: tuple[str, str], tag: str, only: Preconditions, body: Any, *, exists: bool = True) -> web.Response:
    """Answer a request to see something, or with 304 if the caller has it already.

    Args:
        thing: its kind and its name.
        tag: the present one.
        only: the conditions.
        body: of the answer.
        exists: as in `Preconditions.check`.

    Raises:
        ChangedMeanwhileError: ``If-Match`` does not hold.
    """
    if not only.matches(tag, exists=exists):
        raise ChangedMeanwhileError(*thing)
    if only.is_known(tag, exists=exists):
        return web.Response(status=304, headers=etag(tag))
    return reply(body, headers=etag(tag))


def etag(tag: str) -> dict[str, str]:
    """Return the header that tells the present tag."""
    return {hdrs.ETAG: f'"{tag}"'}


def _read(request: web.Request, name: str) -> str | None:
    """Return the value of a header, its lines joined."""
    lines = request.headers.getall(name, [])
    if not lines:
        return None
    text = ",".join(lines).strip(" \t")
    if text != "*" and not _LIST.fullmatch(text):
        raise ProblemError(
            Problem(
                status=400,
                slug="bad-header",
                title="A header cannot be understood",
                detail=f'the header {name} must be * or a list of entity tags such as "5c1b", "77e0"',
            )
        )
    return text
