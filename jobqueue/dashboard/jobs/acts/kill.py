"""Kill a job, with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent
from jobqueue.dashboard.jobs.acts.subject import check_seen, hidden, path, subject

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_OVER: Final = ("success", "failed", "killed")


async def _load(view: View) -> dict[str, Any]:
    it = await subject(view)
    running = "Its worker is told within seconds, and what it does then does not count." if it.is_running else ""
    form = Form(
        title=f"Kill {it.name}?",
        button="Kill the job",
        call=Call(method="POST", path=path(view, "/kill"), body={"reason": "not needed any more"}),
        fields=[
            Field(name="reason", label="Reason", placeholder="killed by a person", help="It is kept with the job."),
            *await hidden(view, it),
        ],
        texts=[text for text in (running, "Attempts that are left are lost. It can be requeued later.") if text],
        why_not=f"The job has ended: {it.job['state']}." if it.job["state"] in _OVER else "",
        back=it.back,
        is_dangerous=True,
    )
    return shown(view, form)


async def _act(view: View, sent: Sent) -> Deed:
    await check_seen(view, sent)
    reason = sent.text("reason")
    call = Call(
        method="POST", path=path(view, "/kill"), body={"reason": reason} if reason else None, match=sent.text(MATCH)
    )
    return Deed(call=call, said="The job was killed.", to=f"/jobs/{view.path('id')}")


KILL = act_page("/jobs/{id}/kill", _load, _act, nav="Jobs")
