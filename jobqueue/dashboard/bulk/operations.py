"""Operations on many jobs: all of them, and one with its progress."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame import texts
from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.templates import link
from jobqueue.dashboard.frame.view import quoted
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.bulk.rules import Why

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.dashboard.frame.view import View

_LIMIT: Final = "30"
_LONGEST_FILTER: Final = 600
_MOST_FAILURES: Final = 50
_SHAPES: Final[Mapping[str, str]] = {
    Stage.RUNNING: "processing",
    Stage.FINISHED: "success",
    Stage.STOPPED: "killed",
    Stage.FAILED: "failed",
}
_ERASED: Final[Mapping[str, str]] = {
    "jobs": "Jobs",
    "logs": "Log lines",
    "attempts": "Attempts",
    "steps": "Steps",
    "signals": "Signals",
    "audit": "Audit entries",
    "batches": "Batches",
    "operations": "Operations",
    "idempotency": "Request keys",
    "setAside": "Documents set aside",
}
_NAMED: Final = ("batches", "schedules", "tokens")
_VERBS: Final[Mapping[str, str]] = {"requeue": "Requeue", "kill": "Kill", "delete": "Delete", "erase": "Erase"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationText:
    """An operation for people.

    Attributes:
        shape: the state whose shape and colour stand for it.
        what: the verb and the jobs.
        seen: jobs whose turn has been.
        total: jobs that matched, as far as that is known.
        rate: jobs a second.
        eta: seconds that the rest takes at this rate.
    """

    id: str
    shape: str
    what: str
    seen: int
    total: int | None
    rate: float | None
    eta: float | None
    operation: Mapping[str, Any]


def operation_text(operation: Mapping[str, Any], now: datetime) -> OperationText:
    """Return an operation of the API for people."""
    seen = operation["done"] + operation["skipped"] + operation["failed"]
    began, ended = texts.parsed(operation["insertAt"]), texts.parsed(operation["endAt"])
    seconds = ((ended or now) - began).total_seconds() if began else 0.0
    rate = seen / seconds if seconds > 0 and seen else None
    total = operation["matched"]
    # Nobody knows how long a trial takes, and whether the rest follows.
    running = operation["state"] == Stage.RUNNING and not operation["isTrial"]
    return OperationText(
        id=operation["id"],
        shape=_SHAPES.get(operation["state"], "pending"),
        what=f"{_VERBS.get(operation['action'], operation['action'])} {_jobs(operation)}",
        seen=seen,
        total=total,
        rate=rate,
        eta=max(total - seen, 0) / rate if running and rate and total is not None else None,
        operation=operation,
    )


def the_rest(it: OperationText) -> str:
    """Return the jobs whose turn has not been, such as ``the other 99 jobs``."""
    trial = it.operation["trial"] if it.operation["isTrial"] else 0
    left = None if it.total is None else it.total - max(it.seen, trial or 0)
    if left is None or left <= 0:
        return "the rest"
    if not it.operation["isExact"]:
        return f"the other {left:,} jobs and more"
    other = "other " if it.seen or trial else ""
    return f"the {other}job" if left == 1 else f"the {other}{left:,} jobs"


def _course(it: OperationText) -> tuple[str, str, str]:
    """Return the state whose colour stands for the course of an operation, and the course in words; or empty texts."""
    operation, stopped, rest = it.operation, it.operation["stopped"], the_rest(it)
    trial = operation["trial"]
    if stopped is None:
        if operation["state"] != Stage.RUNNING or not operation["isTrial"] or trial is None:
            return "", "", ""
        follows = (
            f"it goes on with {rest} by itself" if operation["then"] else f"it waits until somebody goes on with {rest}"
        )
        return "processing", f"The trial of {trial:,} is under way;", f"then {follows}."
    if stopped["why"] == Why.TRIAL:
        return "success", f"The trial of {trial:,} has succeeded:", f"go on with {rest}."
    told = texts.sentence(texts.shorten(stopped["message"], 300))
    if stopped["why"] == Why.FAILED_TRIAL:
        return "failed", "The trial did not succeed.", f"{told}. {_left(rest)}"
    return "killed" if stopped["why"] == Why.PERSON else "failed", "It stopped.", f"{told}. {_left(rest)}"


def _left(rest: str) -> str:
    return f"{texts.sentence(rest)} {'is' if rest.endswith(('job', 'rest')) else 'are'} as before."


def _jobs(operation: Mapping[str, Any]) -> str:
    if operation["fingerprint"]:
        return f"failures of the group {operation['fingerprint']}"
    if not operation["filter"]:
        return "all jobs"
    return f"jobs with {_terms(operation['filter'])}"


def _terms(value: Mapping[str, Any]) -> str:
    """Return a filter in the words of the search box, or as JSON where it is more than these can say."""
    terms = []
    for name, wanted in value.items():
        several = wanted.get("$in") if isinstance(wanted, dict) and wanted.keys() == {"$in"} else [wanted]
        if (
            name.startswith("$")
            or not isinstance(several, list)
            or any(isinstance(one, dict | list) for one in several)
        ):
            return json.dumps(value, ensure_ascii=False)
        shown = (one if isinstance(one, str) else json.dumps(one) for one in several)
        terms.append(f"{name}={','.join(shown)}")
    return " ".join(terms)


async def _load(view: View) -> dict[str, Any]:
    state, cursor = view.query("state"), view.query("cursor")
    asked = {"limit": _LIMIT} | ({"state": state} if state else {}) | ({"cursor": cursor} if cursor else {})
    operations = await view.ask("/v1/operations", asked)
    chosen = state or None
    return {
        "rows": [operation_text(operation, view.now) for operation in operations["items"]],
        "states": [stage.value for stage in Stage],
        "state": state,
        "first": link("/operations", state=chosen) if cursor else None,
        "following": link("/operations", state=chosen, cursor=operations["next"]) if operations["next"] else None,
    }


async def _load_one(view: View) -> dict[str, Any]:
    operation = await view.ask(f"/v1/operations/{quoted(view.path('id'))}")
    changes = operation["changes"] | ({"fromStep": operation["fromStep"]} if "fromStep" in operation else {})
    if operation["dataPatch"] is not None:
        changes["dataPatch"] = operation["dataPatch"]
    it = operation_text(operation, view.now)
    return {
        "it": it,
        "course": _course(it),
        "rest": the_rest(it),
        "filter": _json(operation["filter"]) if operation["filter"] else "",
        "changes": _json(changes) if changes else "",
        "rules": _rules(operation),
        "shown": operation["failures"][:_MOST_FAILURES],
        "receipt": _receipt(operation.get("receipt")),
    }


def _receipt(receipt: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the receipt of an erasure for people: numbers of what is gone, and the names of what is left."""
    if receipt is None:
        return None
    left = receipt["left"]
    return {
        "gone": [(noun, receipt[name]) for name, noun in _ERASED.items() if receipt[name]],
        "jobs": left["jobs"]["ids"][:_MOST_FAILURES],
        "count": left["jobs"]["count"],
        "parents": left.get("parents", [])[:_MOST_FAILURES],
        "named": [(noun, ", ".join(left[noun][:_MOST_FAILURES])) for noun in _NAMED if left[noun]],
    }


def _rules(operation: Mapping[str, Any]) -> str:
    """Return the trial, the pace and the stop rule of an operation in words."""
    parts = []
    if operation["trial"] is not None:
        rest = "the rest follows" if operation["then"] else "then it waits to be resumed"
        rest = rest if operation["isTrial"] else "which is over"
        parts.append(f"a trial of {operation['trial']:,}, {rest}")
    if isinstance(operation["pace"], str):
        parts.append(f"{operation['pace'].removesuffix('/m')} a minute")
    elif operation["pace"] is not None:
        parts.append(f"{operation['pace']:,} unfinished at once")
    if operation["stopAfter"] is not None:
        parts.append(f"stop after {operation['stopAfter']:,} failed again")
    return "; ".join(parts)


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) <= _LONGEST_FILTER else f"{text[:_LONGEST_FILTER]}…"


OPERATIONS = Page(path="/operations", template="bulk/operations.html", load=_load, nav="Operations")
OPERATION = Page(path="/operations/{id}", template="bulk/operation.html", load=_load_one, nav="Operations")
