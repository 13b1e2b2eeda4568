"""Try one job of a group of failures again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Form, Sent
from jobqueue.dashboard.frame.texts import count, shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.detail.trial import place

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View


async def _load(view: View) -> dict[str, Any]:
    fingerprint = view.path("fp")
    group = await view.ask(f"/v1/failures/{quoted(fingerprint)}")
    form = Form(
        title=f"Try one of {count(group['count'], 'job')} again?",
        button="Try one",
        call=_call(view),
        fields=await tied(view),
        texts=["One job of the group starts anew. Its page shows how it goes; the others stay as they are."],
        back=(f"/failures/{quoted(fingerprint)}", shorten(group["message"], 60) or "the group"),
    )
    return shown(view, form)


async def _act(view: View, _sent: Sent) -> Deed:
    group = view.path("fp")
    return Deed(call=_call(view), said="One job was started.", to=lambda reply: place(reply["job"]["id"], group))


def _call(view: View) -> Call:
    return Call(method="POST", path=f"/v1/failures/{quoted(view.path('fp'))}/requeue", body={"trial": True})


TRIAL = act_page("/failures/{fp}/trial", _load, _act, nav="Failures")
