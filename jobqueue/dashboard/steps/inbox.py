"""The inbox of people: questions, steps in doubt, jobs held up by a failure, open breakers, trials that succeeded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.view import Refused
from jobqueue.dashboard.queues.standing import concerns
from jobqueue.dashboard.steps.answers import answer_rows
from jobqueue.dashboard.steps.questions import doubt, held_rows, question
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = 25
_MOST_SHOWN: Final = {"questions": 15, "doubts": 8, "other": 6}
"""Cards of each kind on the page of all kinds; the page of one kind has as many as are read."""
_FIELDS: Final = "id,type,queue,key,wait,steps,data,meta,attempts,attemptsMade,insertAt,batchId"
_MOST_QUEUES: Final = "100"
_MOST_CULPRITS: Final = 100
_MOST_ANSWERS: Final = "5"
_KINDS: Final = {"questions": "Questions", "doubts": "In doubt", "other": "Other"}
_NOTHING: Final[Mapping[str, Any]] = {"items": [], "next": None}


async def _load(view: View) -> dict[str, Any]:
    kind = view.query("kind") if view.query("kind") in _KINDS else ""
    questions, doubts, (held, held_problem), breakers, answers, found = await asyncio.gather(
        _jobs(view, "signal"), _jobs(view, "doubt"), _held(view), _breakers(view), _answers(view), concerns(view)
    )
    trials = [concern for concern in found if concern["kind"] == "operation"]
    counts = {"questions": len(questions["items"]), "doubts": len(doubts["items"])}
    counts["other"] = len(held) + len(breakers) + len(trials)
    return {
        "kind": kind,
        "most": {kind: _LIMIT} if kind else _MOST_SHOWN,
        "kinds": _KINDS,
        "counts": counts,
        "more": {"questions": bool(questions["next"]), "doubts": bool(doubts["next"]), "other": False},
        "questions": sorted((question(job) for job in questions["items"]), key=lambda row: row.until or "~"),
        "doubts": [doubt(job) for job in doubts["items"]],
        "held": held,
        "held_problem": held_problem,
        "breakers": breakers,
        "trials": trials,
        "answers": answers,
    }


async def _jobs(view: View, waiting: str) -> Mapping[str, Any]:
    return await view.ask("/v1/jobs", {"waiting": waiting, "fields": _FIELDS, "limit": str(_LIMIT)})


async def _held(view: View) -> tuple[Sequence[Any], str]:
    """Return jobs that failed and hold up others, and the reason why they could not be looked for."""
    waiting = {"filter": {"state": "delayed", "dependencyPolicy": "hold"}, "limit": _LIMIT}
    try:
        jobs = await view.ask("/v1/jobs/search", body=waiting | {"fields": ["id", "type", "dependsOn"]})
    except InvalidInputError as error:
        return [], str(error)
    ids = list(dict.fromkeys(other for job in jobs["items"] for other in job["dependsOn"]))[:_MOST_CULPRITS]
    if not ids:
        return [], ""
    failed = {"filter": {"id": {"$in": ids}, "state": {"$in": ["failed", "killed"]}}, "limit": _LIMIT}
    fields = ["id", "type", "queue", "state", "endAt", "error.message", "batchId"]
    culprits = await view.ask("/v1/jobs/search", body=failed | {"fields": fields})
    return held_rows(culprits["items"], jobs["items"]), ""


async def _breakers(view: View) -> list[dict[str, Any]]:
    queues = await view.try_ask("/v1/queues", {"limit": _MOST_QUEUES})
    if isinstance(queues, Refused):
        return []
    return [
        {"queue": queue["name"], **breaker}
        for queue in queues["items"]
        for breaker in queue["breakers"]
        if breaker["state"] != "closed"
    ]


async def _answers(view: View) -> list[Any]:
    """Return the last answers, newest first; none for visitors who may not see the audit."""
    asked: list[Awaitable[Any]] = [
        view.try_ask("/v1/audit", {"kind": "job", "action": action, "limit": _MOST_ANSWERS})
        for action in ("signal", "decide")
    ]
    pages = [page for page in await asyncio.gather(*asked) if not isinstance(page, Refused)]
    return answer_rows([entry for page in pages for entry in page["items"]])[: int(_MOST_ANSWERS)]


INBOX = Page(path="/inbox", template="steps/inbox.html", load=_load, nav="Waiting for you")
