"""Delete a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Form, Sent
from jobqueue.dashboard.jobs.acts.subject import hidden, path, subject

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View


async def _load(view: View) -> dict[str, Any]:
    it = await subject(view)
    form = Form(
        title=f"Delete {it.name} for good?",
        button="Delete the job",
        call=Call(method="DELETE", path=path(view)),
        fields=await hidden(view, it),
        texts=[
            "Its data, result, history and log are lost. A waiting job is killed first. Only the audit remembers it."
        ],
        why_not="The job runs: kill it first." if it.is_running else "",
        back=it.back,
        is_dangerous=True,
    )
    return shown(view, form)


async def _act(view: View, sent: Sent) -> Deed:
    call = Call(method="DELETE", path=path(view), match=sent.text(MATCH))
    return Deed(call=call, said=f"The job …{view.path('id')[-6:]} was deleted.", to="/jobs")


DELETE = act_page("/jobs/{id}/delete", _load, _act, nav="Jobs")
