"""Stop an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.dashboard.bulk.operations import operation_text
from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Form, Sent
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View


async def _load(view: View) -> dict[str, Any]:
    here = quoted(view.path("id"))
    it = operation_text(await view.ask(f"/v1/operations/{here}"), view.now)
    form = Form(
        title="Stop this operation?",
        button="Stop it",
        call=_call(view),
        fields=await tied(view, ""),
        texts=[f"{shorten(it.what, 160)}: {it.seen:,} done so far. These stay as they are; no further ones follow."],
        why_not="" if it.operation["state"] == "running" else f"It is {it.operation['state']}.",
        back=(f"/operations/{here}", "the operation"),
    )
    return shown(view, form)


async def _act(view: View, _sent: Sent) -> Deed:
    return Deed(call=_call(view), said="The operation was stopped.", to=f"/operations/{quoted(view.path('id'))}")


def _call(view: View) -> Call:
    return Call(method="POST", path=f"/v1/operations/{quoted(view.path('id'))}/stop")


STOP = act_page("/operations/{id}/stop", _load, _act, nav="Operations")
