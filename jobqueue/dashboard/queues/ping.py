"""Test the webhook of a queue by a signed ping, and show the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import act_page, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Field, Form, Sent, filled
from jobqueue.dashboard.frame.texts import shorten, span
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.subject import back, the_queue
from jobqueue.domain.work.processing import LONGEST_PING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.view import View

_TYPE: Final = "type"
_LONGEST: Final = 60


async def _load(view: View) -> dict[str, Any]:
    name = view.path("name")
    queue, _ = await the_queue(view)
    hooks = {kind: each for kind, each in queue["processors"].items() if each["kind"] == "webhook"}
    wanted = view.sent.text(_TYPE) if view.sent else view.query(_TYPE)
    chosen = wanted if wanted in hooks else next(iter(hooks), "")
    answer = view.sent.preview if view.sent else None
    choices = [(kind, shorten(kind, _LONGEST)) for kind in hooks]
    form = Form(
        title=f"Test a webhook of {shorten(name, _LONGEST)}",
        button="Send another ping" if answer else "Send a ping",
        call=_call(name, chosen),
        fields=[Field(name=_TYPE, label="Type", kind="choice", value=chosen, choices=choices), *await tied(view)],
        texts=_texts(hooks[chosen]) if chosen else (),
        why_not="" if hooks else "No webhook is configured here.",
        back=back(name),
    )
    # After an answer the next ping is another form.
    return {
        "form": form if answer else filled(form, view.sent),
        "answer": answer,
        "took": _took(answer),
        "events": None,
    }


def _texts(hook: Mapping[str, Any]) -> list[str]:
    seconds = min(hook["timeout"], LONGEST_PING)
    return [
        f"A signed POST goes to {shorten(hook['url'], 300)}, with the headers and the check of the address of a job.",
        f"Its body is a ping, not a job. The receiver has {span(seconds)} to answer with a status from 200 to 299.",
    ]


def _took(answer: Mapping[str, Any] | None) -> str:
    return span(answer["seconds"]) if answer else ""


async def _act(view: View, sent: Sent) -> Deed:
    name = view.path("name")
    return Deed(call=_call(name, sent.text(_TYPE)), said="The webhook was tested.", to=back(name)[0], shown=True)


def _call(name: str, kind: str) -> Call:
    return Call(method="POST", path=f"/v1/queues/{quoted(name)}/test-webhook", body={"type": kind})


PING: Final = act_page("/queues/{name}/test", _load, _act, nav="Queues", template="queues/ping.html")
