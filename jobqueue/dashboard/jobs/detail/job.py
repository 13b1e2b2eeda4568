"""The page of one job: why it waits or failed, its starts, its error, its log, its values and its relatives."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.texts import parsed
from jobqueue.dashboard.frame.view import Refused, quoted
from jobqueue.dashboard.jobs.acts.actions import actions
from jobqueue.dashboard.jobs.detail import changes, facts, family, log, reasons, tree, trouble
from jobqueue.dashboard.jobs.detail.brief import whole
from jobqueue.dashboard.jobs.detail.room import Room
from jobqueue.dashboard.jobs.detail.starts import Start, runs_of, starts
from jobqueue.dashboard.jobs.detail.timeline import timeline
from jobqueue.dashboard.jobs.detail.trial import trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.dashboard.frame.view import View

_SPARSE: Final = ("crashes", "erased", "ref", "schedule", "startBefore", "steps", "wait")
"""Fields that not every job has."""
_ALIKE: Final = 200
_RECENT: Final = 50
_ROWS: Final = 8
"""Rows of the table of starts."""
_DEPENDENCIES: Final = 10
_CHANGES: Final = 8
_WAITING: Final = ("pending", "delayed")
_ROOM_OF_ERROR: Final = 9_000
_ROOMS: Final = {"data": 3_500, "meta": 2_000, "result": 3_500, "steps": 2_500}
_ROOM_OF_CHANGES: Final = 3_000
_ROOM_OF_STARTS: Final = 3_000
_ROOM_OF_HEAD: Final = 2_500
_STEP_RESULTS: Final = 12


async def _load(view: View) -> dict[str, Any]:
    job_id = view.path("id")
    path = f"/v1/jobs/{quoted(job_id)}"
    parts = await view.ask_all(
        job=path,
        why=f"{path}/why",
        logs=(f"{path}/logs", log.tail_query()),
        family=f"{path}/family",
        audit=("/v1/audit", {"kind": "job", "name": job_id, "limit": str(_CHANGES)}),
    )
    job = dict.fromkeys(_SPARSE) | parts["job"]
    alike, median, needs, tried = await asyncio.gather(
        _alike(view, job), _median(view, job), _dependencies(view, job), trial(view, job)
    )
    found = starts(job)
    runs = runs_of(found)
    line = timeline(job, found, view.now, view.preferences, whole(view.query("run")))
    return {
        "job": job,
        "actions": actions(view, job),
        "shown": _head(job),
        "waiting": reasons.waiting(job, parts["why"]) if job["state"] in _WAITING else None,
        "unread": [one for one in parts["why"]["reasons"] if one["kind"] == "unread"],
        "back": _back(view),
        "copies": facts.copies(view, job_id),
        "facts": facts.meta_facts(job["meta"]),
        "backoff": facts.backoff(job["backoff"]),
        "timeline": line,
        "starts": _rows(found),
        "start_count": sum(1 for start in found if start.number),
        "runs": runs,
        "last": (last := next((start for start in reversed(found) if start.number), None)),
        "waits_since": _since(job, last, view.now),
        "trouble": trouble.trouble(job, found, runs, Room(_ROOM_OF_ERROR)),
        "alike": alike,
        "tried": tried,
        "median": median,
        "needs": needs,
        "log": log.tail(parts["logs"], view.preferences),
        "values": _values(job),
        "family": family.family(parts["family"], needs),
        "changes": _changes(parts["audit"]),
    }


def _head(job: Mapping[str, Any]) -> dict[str, str]:
    """Return texts of the head, cut to what fits."""
    room = Room(_ROOM_OF_HEAD)
    error = job.get("error") or {}
    return {
        "type": room.text(str(job["type"]), 300),
        "key": room.text(str(job["key"] or ""), 300),
        "message": room.text(str(error.get("message") or ""), 900),
        "step": room.text(str(error.get("step") or ""), 200),
        "worker": room.text(str((job["claim"] or {}).get("worker") or ""), 300),
        "under_way": room.text(str((job["claim"] or {}).get("step") or ""), 200),
    }


def _since(job: Mapping[str, Any], last: Start | None, now: datetime) -> str | None:
    """Return the time since which a job waits: its last end, its insertion, or the time from which it may run."""
    moments = [parsed(job["insertAt"]), parsed(job["delayTil"]), None if last is None else last.end]
    past = [moment for moment in moments if moment is not None and moment <= now]
    return max(past).isoformat() if past else None


async def _alike(view: View, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the group of a failed job and the number of other jobs in it, as far as one page goes."""
    group = trouble.group_of(job)
    if group is None:
        return None
    query = {"fingerprint": group, "state": "failed,killed", "limit": str(_ALIKE), "fields": "id"}
    reply = await view.ask("/v1/jobs", query)
    others = sum(1 for other in reply["items"] if other["id"] != job["id"])
    return {"group": group, "others": others, "is_more": reply["next"] is not None} if others else None


async def _median(view: View, job: Mapping[str, Any]) -> float | None:
    """Return the median of the seconds that the last jobs of this queue and type took which succeeded."""
    query = {"queue": job["queue"], "type": job["type"], "limit": str(_RECENT), "fields": "state,startAt,endAt"}
    items = (await view.ask("/v1/jobs", query))["items"]
    seconds = [
        (end - begin).total_seconds()
        for other in items
        if other["state"] == "success"
        and (begin := parsed(other["startAt"])) is not None
        and (end := parsed(other["endAt"])) is not None
    ]
    return statistics.median(seconds) if seconds else None


async def _dependencies(view: View, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return some of the jobs that a job depends on, with their present states."""
    ids = job["dependsOn"][:_DEPENDENCIES]
    if not ids:
        return []
    body = {"filter": {"id": {"$in": ids}}, "fields": ["type", "state", "ref"], "limit": len(ids)}
    reply = await view.try_ask("/v1/jobs/search", body=body)
    return [] if isinstance(reply, Refused) else list(reply["items"])


def _back(view: View) -> dict[str, str] | None:
    """Return the list from which the visitor has come, as its address gives it."""
    try:
        given = parse_qsl(view.query("back")[:2000], max_num_fields=20)
    except ValueError:
        return None
    if not given:
        return None
    return {"href": f"/jobs?{urlencode(given)}", "text": dict(given).get("q", "")[:200]}


def _rows(found: Sequence[Start]) -> list[tuple[Start, str, str]]:
    room = Room(_ROOM_OF_STARTS)
    return [(start, room.text(start.worker, 60), room.text(start.why, 300)) for start in found[: -_ROWS - 1 : -1]]


def _values(job: Mapping[str, Any]) -> list[tree.Node]:
    """Return the data, ``meta``, result and results of steps of a job as trees."""
    bounds = tree.Bounds()

    def shown(name: str) -> tree.Node:
        return tree.node(name, job[name], Room(_ROOMS[name]), bounds, pointer=f"/{name}")

    nodes = [shown("data"), shown("meta")]
    if job["result"] is not None or job["state"] == "success":
        nodes.append(shown("result"))
    done = [step for step in job["steps"] or () if step["endAt"]]
    if done:
        room = Room(_ROOMS["steps"])
        steps = tree.Node(key="steps", kind="object", size=len(done), pointer="/steps", is_open=True)
        for step in done[-_STEP_RESULTS:]:
            if not room.is_used_up:
                steps.parts.append(_result(step, room, bounds))
        steps.left_out = len(done) - len(steps.parts)
        nodes.append(steps)
    return nodes


def _result(step: Mapping[str, Any], room: Room, bounds: tree.Bounds) -> tree.Node:
    name, pointer = str(step["name"]), tree.below("/steps", str(step["name"]))
    if step.get("stored"):
        return tree.Node(key=room.text(name, 200), kind="text", text="", is_cut=True, pointer=pointer)
    return tree.node(name, step.get("result"), room, bounds, pointer=pointer, depth=1)


def _changes(reply: dict[str, Any] | Refused) -> dict[str, Any]:
    if isinstance(reply, Refused):
        return {"refused": reply, "entries": [], "is_more": False}
    shown = changes.changes(reply["items"], Room(_ROOM_OF_CHANGES))
    return {"refused": None, "entries": shown, "is_more": reply["next"] is not None or len(shown) < len(reply["items"])}


JOB: Final = Page(path="/jobs/{id}", template="jobs/job.html", load=_load, nav="Jobs", events="job={id}&progress=true")
