"""The page behind a signed link, on which a person answers a question of a job.

Programs that look at mail open links, so the page only asks: nothing happens before one of its forms is sent.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from aiohttp import web

from jobqueue.api.http.json_body import read_bytes
from jobqueue.api.http.keys import REMOTE, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.domain.errors import ConflictError, NotFoundError
from jobqueue.domain.insight.audit import Actor

if TYPE_CHECKING:
    from jobqueue.domain.access.signal_link import SignalLink
    from jobqueue.domain.jobs.job import Job

FORM: Final = "application/x-www-form-urlencoded"
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem;color:#1c1c1c}"
    "button{font:inherit;margin:.5rem .5rem 0 0;padding:.5rem 1.25rem}small{color:#555}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Without a referrer a browser hides the origin of the form, too.
    "Referrer-Policy": "same-origin",
}
_MOST_BODY: Final = 4096
_UNKNOWN: Final = "This link is not valid."
_OVER: Final = "The time to answer is over."
_ANSWERED: Final = "This question has been answered, or nobody waits for the answer any more."
_FULL: Final = "Your answer was not kept: too many signals wait for this job. Try again later."


async def show(request: web.Request) -> web.Response:
    """Show a question of a job to the bearer of a signed link; nothing is answered by this."""
    link, refusal = await _readable(request)
    if link is None:
        return refusal
    job = await request.app[RUNTIME].jobs.lean(link.job_id)
    buttons = "".join(
        f'<form method="post"><input type="hidden" name="choice" value="{escape(label)}">'
        f"<button>{escape(label)}</button></form>"
        for label, _ in link.choices
    )
    return _page(200, _question(link, job), buttons)


async def answer(request: web.Request) -> web.Response:
    """Answer a question of a job by one of the choices of a signed link, once."""
    link, refusal = await _readable(request)
    if link is None:
        return refusal
    chosen = await _choice(request)
    values = dict(link.choices)
    if chosen not in values:
        return _page(422, "Choose one of the answers of the page.")
    by = Actor(name=link.by or "link", via="link", address=request[REMOTE])
    try:
        sent = await request.app[RUNTIME].signals.send(
            link.job_id, link.signal, values[chosen], signal_id=link.answer_id, question=link.question, by=by
        )
    except NotFoundError:
        return _page(404, _UNKNOWN)
    except ConflictError:
        # A question that is still open was not answered: the job has no room for one more signal.
        still_open, refusal = await _readable(request)
        return refusal if still_open is None else _page(409, _FULL)
    return _page(409, _ANSWERED) if sent.existed else _page(200, f"Your answer is {chosen}.")


async def _readable(request: web.Request) -> tuple[SignalLink | None, web.Response]:
    """Return the question of a link that can be answered, or the page that says why it cannot."""
    runtime = request.app[RUNTIME]
    link = await runtime.links.read(request.match_info["link"])
    if link is None:
        return None, _page(404, _UNKNOWN)
    if await runtime.links.is_over(link):
        return None, _page(410, _OVER)
    try:
        is_open = await runtime.signals.is_open(link.job_id, link.question, link.signal, link.answer_id)
    except NotFoundError:
        return None, _page(404, _UNKNOWN)
    return (link, web.Response()) if is_open else (None, _page(409, _ANSWERED))


async def _choice(request: web.Request) -> str | None:
    if request.content_type != FORM:
        raise ProblemError(415, "unsupported-media-type", "Unsupported Media Type", f"send a form, as {FORM}")
    body = await read_bytes(request, _MOST_BODY)
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=4)
    except ValueError:
        return None
    chosen = fields.get("choice", [])
    return chosen[0] if len(chosen) == 1 else None


def _question(link: SignalLink, job: Job) -> str:
    return link.title or f"A job of the type {job.type} asks: {link.signal}?"


def _page(status: int, text: str, more: str = "") -> web.Response:
    """Return a page; ``more`` is HTML."""
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta name="robots" content="noindex"><title>{escape(text)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(text)}</h1>{more}</html>"
    )
    return web.Response(status=status, text=body, content_type="text/html", charset="utf-8", headers=_HEADERS)
