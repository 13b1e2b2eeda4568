"""Conditional requests (RFC 9110, section 13)."""

from __future__ import annotations

import re
from typing import Any, Final

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.problems import ProblemError
from jobqueue.domain.access.preconditions import Preconditions
from jobqueue.domain.errors import ChangedMeanwhileError

_ONE: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"'
_LIST: Final = re.compile(rf"[ \t,]*{_ONE}(?:[ \t]*,[ \t,]*{_ONE})*[ \t,]*")
_TAG: Final = re.compile(r'(W/)?"([^"]*)"')


def preconditions(request: web.Request) -> Preconditions:
    """Return the conditions of a request.

    ``If-Match`` compares strongly: a weak tag never matches. ``If-None-Match`` compares weakly.

    Raises:
        ProblemError: 400 naming a header that is neither ``*`` nor a list of entity tags.
    """
    match, none_match = _read(request, hdrs.IF_MATCH), _read(request, hdrs.IF_NONE_MATCH)
    return Preconditions(
        match=None if match in {None, "*"} else frozenset(tag for weak, tag in _TAG.findall(match or "") if not weak),
        match_any=match == "*",
        none_match=None if none_match in {None, "*"} else frozenset(tag for _, tag in _TAG.findall(none_match or "")),
        none_match_any=none_match == "*",
    )


def refuse_conditions(request: web.Request) -> None:
    """Refuse conditions on a subject without a tag, as they cannot hold; ignored conditions would protect nothing.

    Raises:
        ProblemError: 412, or 400 as `preconditions`.
    """
    only = preconditions(request)
    if only.match is not None or only.none_match_any:
        detail = "what this request is about has no ETag: leave out If-Match and If-None-Match"
        raise ProblemError(412, "changed-meanwhile", "Changed meanwhile", detail)


def answered(
    subject: tuple[str, str], tag: str, only: Preconditions, body: Any, *, exists: bool = True
) -> web.Response:
    """Return the reply of a GET with its ``ETag``, or 304 if the caller has this version already.

    Args:
        subject: its kind and its name.
        tag: the present tag.
        only: the conditions.
        body: of the reply.
        exists: as in `Preconditions.check`.

    Raises:
        ChangedMeanwhileError: ``If-Match`` does not hold.
    """
    if not only.matches(tag, exists=exists):
        raise ChangedMeanwhileError(*subject)
    if only.is_known(tag, exists=exists):
        return web.Response(status=304, headers=etag(tag))
    return reply(body, headers=etag(tag))


def etag(tag: str) -> dict[str, str]:
    """Return the ``ETag`` header."""
    return {hdrs.ETAG: f'"{tag}"'}


def _read(request: web.Request, name: str) -> str | None:
    """Return the value of a header, its lines joined."""
    lines = request.headers.getall(name, [])
    if not lines:
        return None
    text = ",".join(lines).strip(" \t")
    if text != "*" and not _LIST.fullmatch(text):
        detail = f'the header {name} must be * or a list of entity tags such as "5c1b", "77e0"'
        raise ProblemError(400, "bad-header", "A header cannot be understood", detail)
    return text
