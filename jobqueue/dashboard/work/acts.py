"""Drain a worker, and undo that."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.keys import RUNTIME
from jobqueue.dashboard.frame.act_page import act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Form, Sent
from jobqueue.dashboard.frame.texts import count, shorten
from jobqueue.dashboard.frame.view import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.page import Page
    from jobqueue.dashboard.frame.view import View

_LONGEST: Final = 60
_DRAIN: Final = "drain"
_BACK: Final = ("/workers", "Workers")
LIMITED: Final = "It needs a token that is not limited to values of meta: a worker runs jobs of others, too."
_HERE: Final = "It is the server of this page. It ends, too: nobody can undo this here once it has left."


async def _load(view: View, action: str) -> dict[str, Any]:
    name = view.path("name")
    worker = await view.ask(f"/v1/workers/{quoted(name)}")
    drains = action == _DRAIN
    short = shorten(name, _LONGEST)
    form = Form(
        title=f"Drain {short}?" if drains else f"Let {short} claim jobs again?",
        button="Drain the worker" if drains else "Undo the drain",
        call=_call(name, action),
        fields=await tied(view),
        texts=_drain_texts(view, worker) if drains else ["It claims jobs again within five seconds."],
        why_not=LIMITED if view.caller.scope.meta else _why_not(worker, drains=drains),
        back=_BACK,
    )
    return shown(view, form)


async def _act(view: View, _sent: Sent, action: str) -> Deed:
    said = "The worker drains: it claims no more jobs." if action == _DRAIN else "The worker claims jobs again."
    return Deed(call=_call(view.path("name"), action), said=said, to=_BACK[0])


def _drain_texts(view: View, worker: Mapping[str, Any]) -> Sequence[str]:
    running = len(worker["running"])
    name = worker["name"]
    return [
        "It claims no more jobs, finishes what it runs, and leaves with exit code 0. Other workers go on.",
        f"It runs {count(running, 'job')} now. Jobs that outlast its drain timeout go back to their queues, uncounted.",
        *(["It polls: the next time that it asks for a job it is told to leave."] if worker["host"] is None else []),
        *([_HERE] if name == view.request.app[RUNTIME].name else []),
    ]


def _why_not(worker: Mapping[str, Any], *, drains: bool) -> str:
    if drains and worker["draining"]:
        return "It drains already."
    if not drains and not worker["draining"]:
        return "Nobody has drained it."
    if worker["host"] is not None and not worker["alive"]:
        return "It is silent: its process is gone, or cannot reach the database."
    return ""


def _call(name: str, action: str) -> Call:
    return Call(method="POST", path=f"/v1/workers/{quoted(name)}/{action}")


def _page(action: str) -> Page:
    load, act = partial(_load, action=action), partial(_act, action=action)
    return act_page(f"/workers/{{name}}/{action}", load, act, nav="Workers")


WORKER_ACTS: Final = (_page(_DRAIN), _page("resume"))
