"""Protection of forms: where they come from, and whose they are.

A cookie alone changes nothing. A form counts if the browser says that a page of this server has sent it, and if it has
the token that only pages of this session show. Both hold on a server that needs no login, too: there the session is
that of nobody, and pages of other sites can neither send forms nor read the token.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from jobqueue.api.http.json_body import read_bytes
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.security.hosts import has_own_origin
from jobqueue.api.security.token_watch import SESSION_COOKIE
from jobqueue.dashboard.frame.acts.form import KEY, Sent

if TYPE_CHECKING:
    from aiohttp import web

TOKEN: Final = "form"  # noqa: S105 - the name of a field
HEADER: Final = "X-Form-Token"
FORM: Final = "application/x-www-form-urlencoded"
MOST_FORM: Final = 4 * 1024 * 1024
"""Bytes of a form: data of a job of the largest size, with its marks encoded."""
_MOST_FIELDS: Final = 400
_PURPOSE: Final = "form"


def check_origin(request: web.Request) -> None:
    """Refuse a form that no page of this server has sent.

    Raises:
        ProblemError: 403.
    """
    site = request.headers.get("Sec-Fetch-Site")
    is_own = site == "same-origin" if site is not None else has_own_origin(request)
    if not is_own:
        detail = "only a page of this server may send this form; open the page, and send it from there"
        raise ProblemError(403, "foreign-page", "Forbidden", detail)


async def form_token(request: web.Request) -> str:
    """Return the token for the forms of a session."""
    session = request.cookies.get(SESSION_COOKIE, "")
    return await request.app[RUNTIME].sessions.signature(_PURPOSE, session)


async def form_key(request: web.Request, *parts: str) -> str:
    """Return a key that differs for each session and each of the parts, such as a path and a tag of its subject."""
    session = request.cookies.get(SESSION_COOKIE, "")
    return (await request.app[RUNTIME].sessions.signature(KEY, "\n".join((session, *parts))))[:32]


def has_token(request: web.Request, sent: Sent, token: str) -> bool:
    """Return True if a form, or a header, has the token of its session."""
    given = request.headers.get(HEADER) or sent.values.get(TOKEN, "")
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


async def read_form(request: web.Request) -> Sent:
    """Return a form.

    Raises:
        ProblemError: 400, 408, 413 or 415, it cannot be read.
    """
    if request.content_type != FORM:
        raise ProblemError(415, "unsupported-media-type", "Unsupported media type", f"send a form, as {FORM}")
    body = await read_bytes(request, MOST_FORM)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise ProblemError(400, "bad-body", "The body cannot be understood", "this form cannot be read") from None
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return Sent(values={name: values[0] for name, values in lists.items()}, lists=lists)
