"""Pause and resume a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.subject import back, pause_text, the_queue

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_LONGEST: Final = 60


async def _load_pause(view: View) -> dict[str, Any]:
    name = view.path("name")
    queue, tag = await the_queue(view, anyway=view.sent is not None)
    counts = queue["counts"]
    is_paused = queue["paused"]
    form = Form(
        title=f"{shorten(name, _LONGEST)} is paused already" if is_paused else f"Pause {shorten(name, _LONGEST)}?",
        button="Keep it paused, with this reason" if is_paused else "Pause the queue",
        call=_pause(name, queue["pauseReason"] or "an invoice run until 18:00", "", is_paused=is_paused),
        fields=[
            Field(
                name="reason",
                label="Reason",
                value=queue["pauseReason"] or "",
                placeholder="until the import is repaired",
                help="Every page of the queue shows it.",
            ),
            *await tied(view, tag),
        ],
        texts=[
            *([pause_text(queue)] if is_paused else ()),
            "Nothing of it starts any more, in any process, within a second. New jobs can still be added.",
            f"Pending now: {counts['pending']:,}. Running now, and going on to the end: {counts['processing']:,}.",
        ],
        back=back(name),
    )
    return shown(view, form)


async def _act_pause(view: View, sent: Sent) -> Deed:
    name = view.path("name")
    queue, _ = await the_queue(view, anyway=True)
    call = _pause(name, sent.text("reason"), sent.text(MATCH), is_paused=queue["paused"])
    return Deed(call=call, said="The queue is paused.", to=back(name)[0])


def _pause(name: str, reason: str, match: str, *, is_paused: bool) -> Call:
    """Return the call; of a queue that is paused already only the reason changes, also to none."""
    if is_paused:
        change = {"pauseReason": reason or None}
        return Call(method="PATCH", path=f"/v1/queues/{quoted(name)}", body=change, match=match)
    body = {"reason": reason} if reason else None
    return Call(method="POST", path=f"/v1/queues/{quoted(name)}/pause", body=body, match=match)


async def _load_resume(view: View) -> dict[str, Any]:
    name = view.path("name")
    queue, tag = await the_queue(view)
    breakers = [breaker for breaker in queue["breakers"] if breaker["state"] != "closed"]
    form = Form(
        title=f"Resume {shorten(name, _LONGEST)}?",
        button="Resume the queue",
        call=_resume(name, ""),
        fields=await tied(view, tag),
        texts=[pause_text(queue), "Its jobs start again within a second, and its breakers close."],
        why_not="" if queue["paused"] or breakers else "The queue is not paused, and none of its breakers is open.",
        back=back(name),
    )
    return shown(view, form)


async def _act_resume(view: View, sent: Sent) -> Deed:
    name = view.path("name")
    return Deed(call=_resume(name, sent.text(MATCH)), said="The queue works again.", to=back(name)[0])


def _resume(name: str, match: str) -> Call:
    return Call(method="POST", path=f"/v1/queues/{quoted(name)}/resume", match=match)


PAUSE = act_page("/queues/{name}/pause", _load_pause, _act_pause, nav="Queues")
RESUME = act_page("/queues/{name}/resume", _load_resume, _act_resume, nav="Queues")
