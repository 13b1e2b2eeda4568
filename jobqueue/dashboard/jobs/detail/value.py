"""The page of one value of a job, for values that are too large for the page of the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.jobs.detail import tree
from jobqueue.dashboard.jobs.detail.brief import brief, whole
from jobqueue.dashboard.jobs.detail.room import Room, fitting
from jobqueue.domain.errors import NotFoundError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.view import View

_ROOM: Final = 38_000
_PARTS: Final = 150
_TEXT: Final = 40_000
"""Bytes of a text on one page."""
_NAMES: Final = ("data", "meta", "result", "error")
_STEPS: Final = "/steps/"


async def _load(view: View) -> dict[str, Any]:
    job_id, pointer = view.path("id"), view.query("at", "/data")[:3000]
    job = await brief(view, job_id)
    value = await _value(view, job_id, pointer)
    begin = whole(view.query("from"))
    shown: dict[str, Any]
    if isinstance(value, str):
        text = fitting(value[begin:], _TEXT)
        shown, length = {"text": text, "node": None}, len(text)
    else:
        node = _node(value, pointer, begin)
        shown, length = {"text": None, "node": node}, len(node.parts)
    size = len(value) if isinstance(value, str | dict | list) else 1
    following = begin + length
    path = f"/jobs/{quoted(job_id)}/value"
    return {
        "job": job,
        "pointer": fitting(pointer, 1000),
        "above": _above(path, pointer),
        "kind": tree.kind(value),
        "begin": begin,
        "end": following,
        "size": size,
        "first": link(path, at=pointer) if begin else None,
        "following": link(path, at=pointer, **{"from": following}) if begin < following < size else None,
        **shown,
    }


async def _value(view: View, job_id: str, pointer: str) -> Any:
    """Return the value to which a pointer leads.

    Raises:
        NotFoundError: there is none.
    """
    path = f"/v1/jobs/{quoted(job_id)}"
    try:
        if pointer.startswith(_STEPS):
            name, _, rest = pointer.removeprefix(_STEPS).partition("/")
            step = name.replace("~1", "/").replace("~0", "~")
            reply = await view.ask(f"{path}/steps/{quoted(step)}")
            return tree.at(reply.get("result"), f"/{rest}" if rest else "")
        job = await view.ask(path)
        return tree.at({name: job[name] for name in _NAMES}, pointer)
    except LookupError:
        raise NotFoundError("value", fitting(pointer, 200)) from None


def _node(value: Any, pointer: str, begin: int) -> tree.Node:
    """Return a value as a tree; of an object or a list the parts from a number on."""
    room, bounds = Room(_ROOM), tree.Bounds(parts=_PARTS, text=2000)
    if not isinstance(value, dict | list) or not begin:
        return tree.node(pointer.rpartition("/")[2], value, room, bounds, pointer=pointer)
    node = tree.Node(key="", kind=tree.kind(value), size=len(value), is_open=True, pointer=pointer)
    for index, (key, part) in enumerate(tree.members(value)):
        if index < begin:
            continue
        if len(node.parts) >= _PARTS or room.is_used_up:
            break
        node.parts.append(tree.node(key, part, room, bounds, pointer=tree.below(pointer, key), depth=1))
    return node


def _above(path: str, pointer: str) -> list[tuple[str, str]]:
    """Return the values around this one, each with its address, from the outermost on."""
    parts = pointer.split("/")[1:]
    is_step = pointer.startswith(_STEPS)
    found = []
    for index in range(1, len(parts)):
        address = "/" + "/".join(parts[:index])
        is_page = is_step and index == 1
        found.append(
            (fitting(parts[index - 1], 60), path.replace("/value", "/steps") if is_page else link(path, at=address))
        )
    return found[:8]


VALUE: Final = Page(path="/jobs/{id}/value", template="jobs/value.html", load=_load, nav="Jobs", events=None)
