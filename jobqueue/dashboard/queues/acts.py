"""Pause and resume a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.queue import is_nothing
from jobqueue.domain.errors import NotFoundError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_LONGEST: Final = 60


async def _load_pause(view: View) -> dict[str, Any]:
    name = view.path("name")
    queue, tag = await _queue(view, name)
    counts = queue["counts"]
    form = Form(
        title=f"Pause {shorten(name, _LONGEST)}?",
        button="Pause the queue",
        call=_pause(name, "an invoice run until 18:00", ""),
        fields=[
            Field(
                name="reason",
                label="Reason",
                placeholder="until the import is repaired",
                help="Every page of the queue shows it.",
            ),
            *await tied(view, tag),
        ],
        texts=[
            "Nothing of it starts any more, in any process, within a second. New jobs can still be added.",
            f"Pending now: {counts['pending']:,}. Running now, and going on to the end: {counts['processing']:,}.",
        ],
        why_not="The queue is paused already." if queue["paused"] else "",
        back=_back(name),
    )
    return shown(view, form)


async def _act_pause(view: View, sent: Sent) -> Deed:
    name = view.path("name")
    call = _pause(name, sent.text("reason"), sent.text(MATCH))
    return Deed(call=call, said="The queue is paused.", to=_back(name)[0])


def _pause(name: str, reason: str, match: str) -> Call:
    body = {"reason": reason} if reason else None
    return Call(method="POST", path=f"/v1/queues/{quoted(name)}/pause", body=body, match=match)


async def _load_resume(view: View) -> dict[str, Any]:
    name = view.path("name")
    queue, tag = await _queue(view, name)
    breakers = [breaker for breaker in queue["breakers"] if breaker["state"] != "closed"]
    form = Form(
        title=f"Resume {shorten(name, _LONGEST)}?",
        button="Resume the queue",
        call=_resume(name, ""),
        fields=await tied(view, tag),
        texts=["Its jobs start again within a second, and its breakers close."],
        why_not="" if queue["paused"] or breakers else "The queue is not paused, and none of its breakers is open.",
        back=_back(name),
    )
    return shown(view, form)


async def _act_resume(view: View, sent: Sent) -> Deed:
    name = view.path("name")
    return Deed(call=_resume(name, sent.text(MATCH)), said="The queue works again.", to=_back(name)[0])


def _resume(name: str, match: str) -> Call:
    return Call(method="POST", path=f"/v1/queues/{quoted(name)}/resume", match=match)


async def _queue(view: View, name: str) -> tuple[dict[str, Any], str]:
    queue, tag = await view.ask_tagged(f"/v1/queues/{quoted(name)}")
    if is_nothing(queue):
        raise NotFoundError("queue", name)
    return queue, tag


def _back(name: str) -> tuple[str, str]:
    return f"/queues/{quoted(name)}", shorten(name, _LONGEST)


PAUSE = act_page("/queues/{name}/pause", _load_pause, _act_pause, nav="Queues")
RESUME = act_page("/queues/{name}/resume", _load_resume, _act_resume, nav="Queues")
