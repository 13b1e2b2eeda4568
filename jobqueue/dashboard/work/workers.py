"""Workers, and the types of jobs that nobody serves."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.standing import KEPT_SECONDS, stuck_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.dashboard.frame.view import View

_READ: Final = "200"
_SHOWN: Final = 50
_MOST_QUEUES: Final = 10
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]*")
_UNSERVED: Final = "no-worker"


async def _load(view: View) -> dict[str, Any]:
    query = {"limit": _READ}
    if cursor := view.query("cursor"):
        query["cursor"] = cursor
    workers, unserved = await asyncio.gather(view.ask("/v1/workers", query), _unserved(view))
    ranked = sorted(workers["items"], key=lambda worker: (worker["alive"], worker["name"]))
    skip = _skip(view.query("skip"), len(ranked))
    shown = ranked[skip : skip + _SHOWN]
    versions = Counter(worker["version"] or "unknown" for worker in ranked if worker["alive"])
    return {
        "workers": shown,
        "total": f"{len(ranked)}{'+' if workers['next'] else ''}",
        "silent": sum(not worker["alive"] and not worker["draining"] for worker in ranked),
        "drained": sum(bool(worker["draining"]) for worker in ranked),
        "running": sum(len(worker["running"]) for worker in ranked),
        "versions": versions.most_common() if len(versions) > 1 else [],
        "unserved": unserved,
        "cursor": cursor,
        "skip": skip,
        "further": skip + _SHOWN if skip + _SHOWN < len(ranked) else None,
        "following": workers["next"],
        "runs_of": _runs_of,
    }


async def _unserved(view: View) -> list[dict[str, Any]]:
    """Return the queues with types that jobs wait for and no worker takes."""
    reasons = await stuck_reasons(view)
    queues = [name for name, kinds in reasons.items() if _UNSERVED in kinds][:_MOST_QUEUES]
    answers = await asyncio.gather(*(view.try_kept(KEPT_SECONDS, f"/v1/queues/{quoted(name)}/why") for name in queues))
    return [
        {"queue": name, "types": _types(why["reasons"])}
        for name, why in zip(queues, answers, strict=True)
        if why and _types(why["reasons"])
    ]


def _runs_of(name: str) -> str:
    """Return the search of the jobs that a worker runs; signs of the search in its name are none of the search."""
    condition = f"claim.worker={name}" if _PLAIN.fullmatch(name) else json.dumps({"claim.worker": name})
    return f"state=processing {condition}"


def _types(reasons: Sequence[dict[str, Any]]) -> list[str]:
    return [kind for reason in reasons if reason["kind"] == _UNSERVED for kind in reason.get("types", ())]


def _skip(text: str, most: int) -> int:
    skip = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(_READ) else 0
    return skip if skip < most else 0


WORKERS = Page(path="/workers", template="work/workers.html", load=_load, nav="Workers", events="")
