"""Forms of pages that are sent: checked, carried out once by one call of the API, and answered.

* Where the form comes from is checked by `acts.guard`, before anything of it is read.
* The API's own handler does it, with the rights of the visitor and under the visitor's name in the audit.
* What was done is told by the page to which the browser is sent, so that loading it again sends nothing again.
* What was refused is told by the page of the form, with all that was typed. After a clash it shows both versions.
* The same form again, as after a second click, does nothing, and leads to the same page, also on another server.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from jobqueue.api.http import problems
from jobqueue.api.http.keys import CALLER, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.dashboard.frame.acts import flash, guard
from jobqueue.dashboard.frame.acts.deeds import DEEDS
from jobqueue.dashboard.frame.acts.form import BACK, KEY, Deed, Preview, Sent, Trouble
from jobqueue.dashboard.frame.acts.recorded import Outcome, RecordedForm, UnsureError
from jobqueue.dashboard.frame.answer import PAGES, page_reply
from jobqueue.dashboard.frame.around import around
from jobqueue.dashboard.frame.ask import send
from jobqueue.dashboard.frame.kept import KEPT
from jobqueue.dashboard.frame.preferences import local_path, preferences
from jobqueue.dashboard.frame.templates import rendered
from jobqueue.dashboard.frame.view import View
from jobqueue.domain.errors import (
    ChangedMeanwhileError,
    ForbiddenError,
    InvalidInputError,
    JobQueueError,
    NotFoundError,
)

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.answer import Handler
    from jobqueue.dashboard.frame.page import Act, Page

_SERVER_ERROR: Final = 500
_OLD_FORM: Final = Trouble(
    status=403,
    text="Nothing was done: this form is of another session, as after a new login. Send it once more.",
)
_WRONG: Final = "Nothing was done: something cannot be taken as it is."
_CLASH: Final = (
    "Nothing was done: somebody has changed it since this page was loaded. Look at it, and send it once more."
)


_UNSURE: Final = Trouble(
    status=409,
    text=(
        "This form was sent before, and no server has told how that ended: perhaps it is done. "
        "Look first, and send it once more only if it is not."
    ),
    is_unsure=True,
)
_ONCE: Final = "This was the same form: it was done once."
_SHOWN_ONCE: Final = (
    "This was the same form: it was done once, and its answer was shown once. "
    "If nobody has seen that, send a new form, and revoke a token that nobody has."
)


def acting(page: Page, act: Act) -> Handler:
    """Return the handler of the forms that are sent to a page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        guard.check_origin(request)
        if not request[CALLER].may(page.act_role or page.role):
            raise ForbiddenError(f"this needs the role {page.act_role or page.role}")
        sent = await guard.read_form(request)
        view = await _view(request)
        if not guard.has_token(request, sent, view.form_token):
            return await _again(page, view, replace(sent, trouble=_OLD_FORM))
        return await _carry_out(page, act, view, sent)

    return handle


async def _carry_out(page: Page, act: Act, view: View, sent: Sent) -> web.Response:
    async def prepare() -> Deed | Preview:
        return await act(view, sent)

    async def carry_out(deed: Deed) -> Outcome:
        return _outcome(deed, await send(view.request, deed.call))

    async def do() -> Outcome | Preview:
        if same is not None:
            recorded = RecordedForm(view.request.app[RUNTIME].forms, same)
            return await recorded.carry_out(prepare, carry_out)
        wanted = await prepare()
        return wanted if isinstance(wanted, Preview) else await carry_out(wanted)

    same = _same(view, sent)
    try:
        done, was_done = await view.request.app[DEEDS].once(object() if same is None else same, do)
    except NotFoundError:
        raise
    except UnsureError:
        return await _again(page, view, replace(sent, trouble=_UNSURE))
    except (JobQueueError, ProblemError) as error:
        return await _again(page, view, replace(sent, trouble=_trouble(error)))
    if isinstance(done, Preview):
        return await _again(page, view, replace(sent, preview=done.values))
    return await _gone_on(page, view, sent, done, was_done=was_done)


def _same(view: View, sent: Sent) -> str | None:
    """Return what the same form of the same visitor has in common; ``None`` for a form without a key."""
    if not sent.values.get(KEY):
        return None
    # The same form with another text is another one.
    typed = sorted((name, value) for name, value in sent.values.items() if name != guard.TOKEN)
    by = view.caller.token_id or view.caller.name
    return f"form\n{hashlib.sha256(repr((by, view.request.path, typed)).encode()).hexdigest()}"


def _outcome(deed: Deed, reply: Any) -> Outcome:
    to = deed.to if isinstance(deed.to, str) else deed.to(reply)
    said = deed.said if isinstance(deed.said, str) else deed.said(reply)
    return Outcome(to=to, said=said, shown=reply if deed.shown else None)


async def _gone_on(page: Page, view: View, sent: Sent, done: Outcome, *, was_done: bool) -> web.Response:
    view.request.app[PAGES].forget()
    view.request.app[KEPT].forget()
    if done.shown is not None:
        return await _again(page, view, replace(sent, preview=done.shown), headers={hdrs.CACHE_CONTROL: "no-store"})
    to, told = done.to, _SHOWN_ONCE if done.was_shown else _ONCE
    if sent.values.get(BACK):
        to = local_path(sent.values[BACK])
    response = web.Response(status=303, headers={hdrs.LOCATION: to})
    if done.said:
        told = f"{done.said} {told}" if was_done else done.said
    await flash.tell(view.request, response, to, told)
    return response


async def _again(page: Page, view: View, sent: Sent, *, headers: dict[str, str] | None = None) -> web.Response:
    """Return the page of a form with all that was typed."""
    view.sent = sent
    values: dict[str, Any] = {"events": None, "around": await around(view)} | await page.load(view)
    values["events"] = None
    html = rendered(page.template, view, nav=page.nav, fragment=False, **values)
    return page_reply(html, status=200 if sent.trouble is None else sent.trouble.status, headers=headers)


async def _view(request: web.Request) -> View:
    view = View(request, await request.app[RUNTIME].database.clock.now(), preferences(request))
    view.form_token = await guard.form_token(request)
    return view


def _trouble(error: JobQueueError | ProblemError) -> Trouble:
    problem = error.problem if isinstance(error, ProblemError) else problems.of_error(error)
    if problem.status >= _SERVER_ERROR:
        raise error
    if isinstance(error, ChangedMeanwhileError):
        return Trouble(status=problem.status, text=_CLASH, is_clash=True)
    if isinstance(error, InvalidInputError):
        return Trouble(status=problem.status, text=_WRONG, fields=error.problems)
    text = (problem.detail or problem.title).rstrip(".")
    return Trouble(status=problem.status, text=f"Nothing was done: {text}.")
