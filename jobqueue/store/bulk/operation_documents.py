"""Documents of operations, and operations of documents."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.bulk.operation import Action, NewOperation, Operation, Stage
from jobqueue.domain.bulk.rules import NO_RULES, Pace, Results, Rules, Stopped, Watched, Why
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.steps.step import UNFORGOTTEN, as_json
from jobqueue.store.bulk import operation_statements
from jobqueue.store.documents import scope_filters
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.odd_values import date_or_none, entries, id_or_none, ids, mapping, number, text, whole
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Scope
    from jobqueue.store.documents.statements import Document


CAREFUL: Final = "carefulRequeue"
"""The stored action of a requeue with rules or a patch: a process that knows neither must not carry it out."""


ACTIONS: Final = (CAREFUL, *(action.value for action in Action if action is not Action.UNKNOWN))
"""The stored actions that this version can carry out."""
UNREADABLE: Final = "another tool has changed this operation: it cannot be carried out any more"
_LATEST: Final = timedelta(minutes=1)
"""An operation has its date before its id: a date later than the id by so much is not its own."""
_LATEST_BY_HOSTS: Final = timedelta(days=1)
"""As `_LATEST` for an operation of version 0.3.0, whose id has the time of a host: its clock may be wrong."""
_COUNTS: Final = ("done", "skipped", "failed")
_STAGES: Final[dict[str | None, Stage]] = {stage.value: stage for stage in Stage}
_WHYS: Final[dict[str | None, Why]] = {why.value: why for why in Why}


def document(new: NewOperation, began: datetime, matched: int | None, *, is_exact: bool) -> Document:
    """Return the document of an operation that begins."""
    patch = {} if new.data_patch is None else {"dataPatch": dict(new.data_patch)}
    watching = (
        {"isTrial": new.rules.trial is not None, "watched": [], "results": {}, "newsAt": began}
        if new.rules.watches
        else {}
    )
    return {
        "action": action(new),
        "given": given(new),
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


def action(new: NewOperation) -> str:
    """Return the stored action of an operation."""
    return CAREFUL if new.rules.watches or new.data_patch is not None else new.action.value


def given(new: NewOperation) -> list[str]:
    """Return the names of the fields of a requeue that may be left out: one that is lost later is missed."""
    patch = () if new.data_patch is None else ("dataPatch",)
    return sorted([*new.rules.given, *as_json(new.from_step), *patch])


def scope_document(scope: Scope) -> Document:
    """Return the stored form of a scope."""
    return {"queues": list(scope.queues), "meta": [list(pair) for pair in scope.meta]}


def of_scope(scope: Scope) -> Document:
    """Match the operations that a caller may see: all, or those of callers with the same scope."""
    return {} if scope.is_everything else {"scope": scope_document(scope)}


def operation(stored: Document) -> Operation:
    """Return the operation of a document; another tool may have spoilt it, and then its action is `Action.UNKNOWN`."""
    ending = mapping(stored.get("ending"))
    if ending:
        ended = {"state": ending.get("state"), "endAt": ending.get("at"), "error": ending.get("error")}
        stored = stored | ended | {"stopped": ending.get("stopped")}
    try:
        new, error = _new(stored), text(stored.get("error"))
    except (KeyError, TypeError, ValueError, AttributeError, InvalidInputError):
        new, error = _unknown(stored), UNREADABLE
    return Operation(
        id=str(stored["_id"]),
        new=new,
        by=new.by.wire(),
        insert_at=date_or_none(stored.get("insertAt")) or EPOCH,
        end_at=date_or_none(stored.get("endAt")),
        stage=_STAGES.get(text(stored.get("state")), Stage.FAILED),
        matched=None if stored.get("matched") is None else whole(stored["matched"], 0),
        is_exact=stored.get("isExact") is True,
        done=whole(stored.get("done"), 0),
        skipped=whole(stored.get("skipped"), 0),
        failed=whole(stored.get("failed"), 0),
        failures=_failures(stored.get("failures")),
        error=error,
        position=_position(stored.get("position")),
        chosen=ids(stored.get("chosen")),
        left=ids(stored.get("left")),
        ahead=stored.get("ahead") is True,
        soon=date_or_none(stored.get("soon")),
        receipt=typed(dict, stored.get("receipt")),
        held_at=_held_at(mapping(stored.get("lease"))),
        stopped=_stopped(mapping(stored.get("stopped"))),
        **_watching(stored),
    )


def _new(stored: Document) -> NewOperation:
    scope, stored_as = stored["scope"], stored["action"]
    pace = stored.get("pace")
    rules = Rules(
        trial=stored.get("trial"),
        then=stored.get("then", False),
        pace=None if pace is None else Pace.of(pace),
        stop_after=stored.get("stopAfter"),
    )
    rules.check()
    new = NewOperation(
        action=Action.REQUEUE if stored_as == CAREFUL else Action(stored_as),
        by=_author(stored),
        filter=_checked(dict, json.loads(stored["filter"])),
        fingerprint=_checked(str | None, stored["fingerprint"]),
        all=_checked(bool, stored["all"]),
        changes=_checked(dict, stored["changes"]),
        from_step=_checked(str | None, stored["fromStep"]) if "fromStep" in stored else UNFORGOTTEN,
        data_patch=_checked(dict, stored["dataPatch"]) if "dataPatch" in stored else None,
        rules=rules if rules.watches else NO_RULES,
        reason=text(stored.get("reason")),
        scope=scope_filters.read(scope["queues"], [tuple(pair) for pair in _checked(list, scope["meta"])]),
    )
    _check_jobs(stored, new)
    _check_course(stored)
    # An operation of version 0.3.0 has no such fields, and does not list them.
    if (stored_as == CAREFUL or "given" in stored) and _checked(list, stored["given"]) != given(new):
        raise ValueError("given")
    if rules.watches:
        _check_watch(stored, new)
    return new


def _check_jobs(stored: Document, new: NewOperation) -> None:
    """Check the fields that keep an operation to its jobs.

    Raises:
        TypeError, ValueError: another tool has spoilt a field, and other jobs would be changed.
    """
    if not new.filter and new.fingerprint is None and not new.all:
        raise ValueError("filter")
    latest = _LATEST if "left" in stored else _LATEST_BY_HOSTS
    if _checked(datetime, stored["insertAt"]) - latest > _checked(ObjectId, stored["_id"]).generation_time:
        raise ValueError("insertAt")


def _check_course(stored: Document) -> None:
    """Check the fields that keep an operation from the jobs whose turn is over, and those that tell its course.

    Raises:
        KeyError, TypeError, ValueError: as `_check_jobs`.
    """
    has_begun = stored["position"] is not None or date_or_none(stored.get("soon")) is not None
    if has_begun and _position(stored["position"]) is None:
        raise ValueError("position")
    if "ending" in stored and _STAGES.get(text(mapping(stored["ending"]).get("state")), Stage.RUNNING) is Stage.RUNNING:
        raise ValueError("ending")
    _check_numbers([stored[name] for name in _COUNTS])
    _checked(list, stored["failures"])


def _check_watch(stored: Document, new: NewOperation) -> None:
    """Check the fields by which an operation that watches its jobs holds or stops.

    Raises:
        KeyError, TypeError, ValueError: as `_check_jobs`.
    """
    if _checked(bool, stored["isTrial"]) and new.rules.trial is None:
        raise ValueError("trial")
    _check_numbers([stored.get("forgiven", 0), *_checked(dict, stored["results"]).values()])
    if any(id_or_none(mapping(job).get("id")) is None for job in _checked(list, stored["watched"])):
        raise ValueError("watched")


def _check_numbers(counts: list[Any]) -> None:
    if any(number(count, -1) < 0 for count in counts):
        raise ValueError("counts")


def _watching(stored: Document) -> dict[str, Any]:
    """Return the fields of an operation that watches its jobs."""
    counts = mapping(stored.get("results"))
    watched = [job for job in entries(stored.get("watched")) if id_or_none(mapping(job).get("id"))]
    return {
        "is_trial": stored.get("isTrial") is True,
        "watched": tuple(Watched(id=str(job["id"]), vanishes=job.get("vanishes") is True) for job in watched),
        "counts": Results(**{name: whole(counts.get(name), 0) for name in ("succeeded", "failed", "unknown")}),
        "failed_again": _failures(stored.get("failedAgain")),
        "forgiven": whole(stored.get("forgiven"), 0),
        "exhausted": stored.get("exhausted") is True,
        "turn_at": date_or_none(stored.get("turnAt")),
        "news_at": date_or_none(stored.get("newsAt")),
    }


def _unknown(stored: Document) -> NewOperation:
    """Return what is known of a spoilt operation; it changes no job."""
    return NewOperation(action=Action.UNKNOWN, by=_author(stored), reason=text(stored.get("reason")))


def _author(stored: Document) -> Actor:
    by = mapping(stored.get("by"))
    return Actor(name=text(by.get("name")) or "?", via=text(by.get("via")) or "?", address=text(by.get("from")))


def _checked(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _failures(stored: object) -> tuple[dict[str, str], ...]:
    found = [(id_or_none(mapping(entry).get("id")), text(mapping(entry).get("reason"))) for entry in entries(stored)]
    return tuple({"id": known, "reason": reason or "?"} for known, reason in found if known is not None)


def _position(stored: object) -> tuple[datetime, str] | None:
    place = mapping(stored)
    at, job_id = date_or_none(place.get("insertAt")), id_or_none(place.get("id"))
    return None if at is None or job_id is None else (at, job_id)


def _held_at(lease: Document) -> datetime | None:
    until = date_or_none(lease.get("until"))
    if until is None or lease.get("token") is None:
        return None
    return until - timedelta(milliseconds=operation_statements.LEASE_MS)


def _stopped(stopped: Document) -> Stopped | None:
    why = _WHYS.get(text(stopped.get("why")))
    return None if why is None else Stopped(why=why, message=text(stopped.get("message")) or "?")
