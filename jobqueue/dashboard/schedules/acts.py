"""Run a schedule now, pause it, resume it, and delete it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.act_page import MATCH, act_page, shown, tied
from jobqueue.dashboard.frame.acts.call import Call
from jobqueue.dashboard.frame.acts.form import Deed, Form, Sent
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.dashboard.frame.page import Page
    from jobqueue.dashboard.frame.view import View

_LONGEST: Final = 60
_RUN: Final = "run"
_DECLARED: Final = (
    "The code of {} declares it: the next worker that starts stores it anew. Pause it, or take it out of the code."
)
_VERBS: Final = {
    "run": ("Make one job of {} now?", "Run it now"),
    "pause": ("Pause {}?", "Pause the schedule"),
    "resume": ("Resume {}?", "Resume the schedule"),
}


async def _load(view: View, action: str) -> dict[str, Any]:
    name = view.path("name")
    schedule, tag = await view.ask_tagged(f"/v1/schedules/{quoted(name)}")
    title, button = _VERBS[action]
    form = Form(
        title=title.format(shorten(name, _LONGEST)),
        button=button,
        call=_call(name, action, ""),
        # A run is no change of the schedule.
        fields=await tied(view, "" if action == _RUN else tag),
        texts=[_text(action, schedule)],
        why_not=_why_not(action, schedule),
        back=(link("/schedules", name=name), shorten(name, _LONGEST)),
    )
    return shown(view, form)


async def _act(view: View, sent: Sent, action: str) -> Deed:
    name = view.path("name")
    call = _call(name, action, sent.text(MATCH))
    if action == _RUN:
        return Deed(call=call, said="The schedule has made this job.", to=lambda job: f"/jobs/{job['id']}")
    said = "The schedule is paused." if action == "pause" else "The schedule makes jobs again."
    return Deed(call=call, said=said, to=link("/schedules", name=name))


async def _load_delete(view: View) -> dict[str, Any]:
    name = view.path("name")
    try:
        schedule, tag = await view.ask_tagged(f"/v1/schedules/{quoted(name)}")
    except NotFoundError as error:
        if error.kind == "schedule":
            raise
        schedule, tag = {}, ""
    declared = schedule.get("declared")
    form = Form(
        title=f"Delete {shorten(name, _LONGEST)}?",
        button="Delete the schedule",
        call=_delete(name, tag),
        fields=await tied(view, tag),
        texts=[
            "It makes no jobs any more. Jobs that it has made stay, and go on.",
            *(["Its definition cannot be read."] if not schedule else []),
            *([_DECLARED.format(shorten(declared["by"], _LONGEST))] if declared else []),
        ],
        back=(link("/schedules", name=name), shorten(name, _LONGEST)),
        is_dangerous=True,
    )
    return shown(view, form)


async def _act_delete(view: View, sent: Sent) -> Deed:
    call = _delete(view.path("name"), sent.text(MATCH))
    return Deed(call=call, said="The schedule is deleted.", to="/schedules")


def _delete(name: str, match: str) -> Call:
    return Call(method="DELETE", path=f"/v1/schedules/{quoted(name)}", match=match)


def _call(name: str, action: str, match: str) -> Call:
    return Call(method="POST", path=f"/v1/schedules/{quoted(name)}/{action}", match=match)


def _text(action: str, schedule: Mapping[str, Any]) -> str:
    if action == _RUN:
        return "It is made besides the times of the schedule, which stay as they are."
    if action == "pause":
        return "It makes nothing any more, and what it misses is not made later. Jobs that it has made go on."
    return "It makes jobs again, from now on." if schedule.get("paused") else ""


def _why_not(action: str, schedule: Mapping[str, Any]) -> str:
    if "paused" not in schedule:
        return "Its definition cannot be read."
    if action != _RUN and bool(schedule["paused"]) == (action == "pause"):
        return "It is paused already." if schedule["paused"] else "It is not paused."
    return ""


def _page(action: str) -> Page:
    load, act = partial(_load, action=action), partial(_act, action=action)
    return act_page(f"/schedules/{{name}}/{action}", load, act, nav="Schedules")


SCHEDULE_ACTS: Final = (
    *(_page(action) for action in _VERBS),
    act_page("/schedules/{name}/delete", _load_delete, _act_delete, nav="Schedules"),
)
