"""Documents of operations, and operations of documents."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import Scope
from jobqueue.domain.bulk.operation import Action, NewOperation, Operation, Stage
from jobqueue.domain.bulk.rules import NO_RULES, Pace, Results, Rules, Stopped, Watched, Why
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.step import UNFORGOTTEN, as_json
from jobqueue.store.bulk import operation_statements

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.store.documents.statements import Document


CAREFUL: Final = "carefulRequeue"
"""The stored action of a requeue with rules or a patch: a process that knows neither must not carry it out."""


def document(new: NewOperation, began: datetime, matched: int | None, *, is_exact: bool) -> Document:
    """Return the document of an operation that begins."""
    patch = {} if new.data_patch is None else {"dataPatch": dict(new.data_patch)}
    watching = {"isTrial": new.rules.trial is not None, "watched": [], "newsAt": began} if new.rules.watches else {}
    return {
        "action": CAREFUL if new.rules.watches or new.data_patch is not None else new.action.value,
        # As text: it has names that are operators of MongoDB.
        "filter": json.dumps(new.filter, ensure_ascii=False),
        "fingerprint": new.fingerprint,
        "all": new.all,
        "changes": dict(new.changes),
        **as_json(new.from_step),
        **patch,
        **new.rules.given,
        **watching,
        "reason": new.reason,
        "by": new.by.wire(),
        "scope": scope_document(new.scope),
        "insertAt": began,
        "endAt": None,
        "state": Stage.RUNNING.value,
        "matched": matched,
        "isExact": is_exact,
        "done": 0,
        "skipped": 0,
        "failed": 0,
        "failures": [],
        "error": None,
        "position": None,
        "chosen": [],
        "left": [],
        "ahead": True,
        "soon": None,
        "lease": {"token": None, "until": operation_statements.FREE},
    }


def scope_document(scope: Scope) -> Document:
    """Return the stored form of a scope."""
    return {"queues": list(scope.queues), "meta": [list(pair) for pair in scope.meta]}


def of_scope(scope: Scope) -> Document:
    """Match the operations that a caller may see: all, or those of callers with the same scope."""
    return {} if scope.is_everything else {"scope": scope_document(scope)}


def operation(stored: Document) -> Operation:
    """Return the operation of a document."""
    ending = stored.get("ending")
    if ending:
        ended = {"state": ending["state"], "endAt": ending["at"], "error": ending["error"]}
        stored = stored | ended | {"stopped": ending.get("stopped")}
    position = stored["position"]
    return Operation(
        id=str(stored["_id"]),
        new=_new(stored),
        by=stored["by"],
        insert_at=stored["insertAt"],
        end_at=stored["endAt"],
        stage=Stage(stored["state"]),
        matched=stored["matched"],
        is_exact=stored["isExact"],
        done=stored["done"],
        skipped=stored["skipped"],
        failed=stored["failed"],
        failures=tuple(stored["failures"]),
        error=stored["error"],
        position=None if position is None else (position["insertAt"], str(position["id"])),
        chosen=tuple(map(str, stored["chosen"])),
        left=tuple(map(str, stored.get("left", ()))),
        ahead=stored.get("ahead", False),
        soon=stored.get("soon"),
        receipt=stored.get("receipt"),
        held_at=_held_at(stored.get("lease")),
        stopped=_stopped(stored.get("stopped")),
        **_watching(stored),
    )


def _new(stored: Document) -> NewOperation:
    by, scope = stored["by"], stored["scope"]
    pace = stored.get("pace")
    rules = Rules(
        trial=stored.get("trial"),
        then=stored.get("then", False),
        pace=None if pace is None else Pace.of(pace),
        stop_after=stored.get("stopAfter"),
    )
    return NewOperation(
        action=Action.REQUEUE if stored["action"] == CAREFUL else Action(stored["action"]),
        by=Actor(name=by["name"], via=by["via"], address=by.get("from")),
        filter=json.loads(stored["filter"]),
        fingerprint=stored["fingerprint"],
        all=stored["all"],
        changes=stored["changes"],
        from_step=stored.get("fromStep", UNFORGOTTEN),
        data_patch=stored.get("dataPatch"),
        rules=rules if rules.watches else NO_RULES,
        reason=stored["reason"],
        scope=Scope(queues=tuple(scope["queues"]), meta=tuple((path, value) for path, value in scope["meta"])),
    )


def _watching(stored: Document) -> dict[str, Any]:
    """Return the fields of an operation that watches its jobs."""
    counts = stored.get("results", {})
    return {
        "is_trial": stored.get("isTrial", False),
        "watched": tuple(Watched(id=str(job["id"]), vanishes=job["vanishes"]) for job in stored.get("watched", ())),
        "counts": Results(**{name: counts.get(name, 0) for name in ("succeeded", "failed", "unknown")}),
        "failed_again": tuple(stored.get("failedAgain", ())),
        "forgiven": stored.get("forgiven", 0),
        "exhausted": stored.get("exhausted", False),
        "turn_at": stored.get("turnAt"),
        "news_at": stored.get("newsAt"),
    }


def _held_at(lease: Document | None) -> datetime | None:
    if lease is None or lease["token"] is None:
        return None
    held_at: datetime = lease["until"] - timedelta(milliseconds=operation_statements.LEASE_MS)
    return held_at


def _stopped(stopped: Document | None) -> Stopped | None:
    return None if stopped is None else Stopped(why=Why(stopped["why"]), message=stopped["message"])
