"""Documents of the `jobs` collection to and from jobs of the domain."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bson import ObjectId

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine, Retries
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.insight import trace_context
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.attributes import attributes
from jobqueue.domain.jobs.job import DEFAULT_QUEUE, Children, Job, NewJob, children
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.steps.call import FAILURES, Call, ChildFailure
from jobqueue.domain.steps.signal import Signal
from jobqueue.domain.steps.step import Step, StepKind, Wait
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.odd_values import date_or_none, entries, id_or_none, ids, mapping, number, text, texts, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.attempts.backoff import Backoff
    from jobqueue.store.documents.statements import Document

Tick = tuple[str, datetime]
"""The name of a schedule, and the date of one of its jobs."""
LEAN: Final = {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0, "steps.result": 0, "signals.value": 0}
"""A projection that leaves out the fields that can be large."""
CHILD_FIELDS: Final = ("onComplete", "onSuccess", "onFailure")
"""The fields of child jobs and of the callbacks of a batch."""
Kind = TypeVar("Kind", State, Outcome, StepKind)
_DEFAULTS: Final = QueueConfig()
_USUAL_BACKOFF: Final = backoffs.DEFAULT.wire()
_MEMBERS: Final[Mapping[Any, Mapping[str, Any]]] = {
    kind: {member.value: member for member in kind} for kind in (State, Outcome, StepKind)
}


def new_document(
    new: NewJob,
    *,
    job_id: str,
    now: datetime,
    parent_id: str | None = None,
    batch_id: str | None = None,
    limit_key: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Document:
    """Return the document of a new job whose defaults are filled in.

    The arguments are those of `JobStore.insert`; ``now`` is the server's time.
    """
    due = new.delay_til or (now + timedelta(seconds=new.delay) if new.delay else None)
    more = dict(extra or {})
    if new.depends_on:
        # The job may be due before its dependencies succeed: only their success may start it.
        more = {"waitsFor": [ObjectId(parent) for parent in new.depends_on], "heldTil": due} | more
        if new.dependency_policy is not None:
            more["dependencyPolicy"] = new.dependency_policy
    if new.start_before is not None:
        more["startBefore"] = _limit(new.start_before, due or now)
    return {
        "_id": ObjectId(job_id),
        "queue": new.queue,
        "type": new.type,
        "state": (State.DELAYED if new.depends_on or (due and due > now) else State.PENDING).value,
        "priority": new.priority,
        "data": dict(new.data),
        "meta": dict(new.meta),
        "attrs": attributes(new.meta),
        "attempts": new.attempts,
        "attemptsMade": 0,
        "backoff": (new.backoff or backoffs.DEFAULT).wire(),
        "delay": new.delay or 0,
        "lease": new.lease,
        "timeout": new.timeout,
        "insertAt": now,
        "startAt": None,
        "endAt": None,
        "delayTil": None if new.depends_on else due,
        "resetAt": None,
        "batchId": ObjectId(batch_id) if batch_id else None,
        "parentId": ObjectId(parent_id) if parent_id else None,
        "dependsOn": [ObjectId(parent) for parent in new.depends_on],
        "progress": 0,
        "logs": [],
        "logCount": 0,
        "result": None,
        "error": None,
        "history": [],
        "onSuccessDelete": bool(new.on_success_delete),
        "onComplete": children_document(new.on_complete),
        "onSuccess": children_document(new.on_success),
        "onFailure": children_document(new.on_failure),
        "key": new.key,
        "claim": None,
        "run": 0,
        **({"limitKey": limit_key} if limit_key is not None else {}),
        **more,
    }


def _limit(limit: datetime | float, due: datetime) -> datetime:
    """Return the date before which a job has to start; seconds count from the time at which the job is due."""
    return limit if isinstance(limit, datetime) else due + timedelta(seconds=limit)


def child_id(parent: Job, slot: str) -> str:
    """Return the id of a child, which is the same for all creations in one run of the parent."""
    return derived_id(parent.end_at or parent.insert_at, f"{parent.id}:{parent.run}:{slot}")


def derived_id(moment: datetime, text: str) -> str:
    """Return the id of a job with a cause, which is the same for the same text.

    The seconds of an ObjectId begin anew in the year 2106.
    """
    seconds = (int(moment.timestamp()) % 2**32).to_bytes(4, "big")
    return (seconds + hashlib.sha256(text.encode()).digest()[:8]).hex()


def numbered_ids(first: str, count: int) -> list[str]:
    """Return ids in ascending order, derived from an id that is none of them."""
    stem = bytes.fromhex(first)[:4] + hashlib.sha256(first.encode()).digest()[:5]
    return [(stem + place.to_bytes(3, "big")).hex() for place in range(count)]


def callback_of(batch_id: str, event: str, generation: int, counts: Mapping[str, int]) -> Document:
    """Return the fields of a callback of a batch."""
    held = {"batchId": ObjectId(batch_id), "event": event, "generation": generation, "counts": dict(counts)}
    return {"callbackOf": held}


def tick_id(incarnation: str, tick: datetime) -> str:
    """Return the id of the job for one tick of one incarnation of a schedule."""
    moment = round(tick.timestamp() * 1000)
    digest = hashlib.sha256(f"{incarnation}:{moment}".encode()).digest()
    return ((moment // 1000 % 2**32).to_bytes(4, "big") + digest[:8]).hex()


def job(document: Mapping[str, Any]) -> Job:
    """Return the job of a document; missing and odd fields get their defaults."""
    get = document.get
    return Job(
        id=str(document["_id"]),
        queue=text(get("queue")) or DEFAULT_QUEUE,
        type=str(get("type", "")),
        data=mapping(get("data")),
        meta=mapping(get("meta")),
        priority=whole(get("priority"), _DEFAULTS.priority),
        attempts=whole(get("attempts"), _DEFAULTS.attempts),
        attempts_made=whole(get("attemptsMade"), 0),
        backoff=_backoff(get("backoff")),
        delay=number(get("delay"), 0),
        lease=number(get("lease"), _DEFAULTS.lease),
        timeout=None if get("timeout") is None else number(get("timeout"), 0),
        insert_at=date_or_none(get("insertAt")) or EPOCH,
        start_at=date_or_none(get("startAt")),
        end_at=date_or_none(get("endAt")),
        delay_til=date_or_none(get("delayTil")),
        reset_at=date_or_none(get("resetAt")),
        batch_id=id_or_none(get("batchId")),
        parent_id=id_or_none(get("parentId")),
        depends_on=ids(get("dependsOn")),
        progress=number(get("progress"), 0),
        logs=_log_lines(get("logs")),
        result=get("result"),
        error=job_error(get("error")),
        history=_attempts(get("history")),
        state=state(get("state")),
        on_success_delete=bool(get("onSuccessDelete")),
        on_complete=children_of(get("onComplete"), "onComplete"),
        on_success=children_of(get("onSuccess"), "onSuccess"),
        on_failure=children_of(get("onFailure"), "onFailure"),
        key=text(get("key")),
        claim=_claim(mapping(get("claim"))),
        log_count=whole(get("logCount"), len(entries(get("logs")))),
        **{name: read(document[key]) for key, (name, read) in _SELDOM.items() if key in document},
    )


def _log_lines(stored: object) -> tuple[LogLine, ...]:
    return tuple(log_line(mapping(line)) for line in entries(stored)) if stored else ()


def _attempts(stored: object) -> tuple[Attempt, ...]:
    return tuple(attempt(mapping(entry)) for entry in entries(stored)) if stored else ()


def log_line(line: Mapping[str, Any]) -> LogLine:
    """Return the log line of a document."""
    return LogLine(
        t=date_or_none(line.get("t")) or EPOCH,
        m=str(line.get("m", "")),
        level=text(line.get("level")),
        attempt=None if line.get("attempt") is None else whole(line["attempt"], 0),
    )


def attempt(entry: Mapping[str, Any]) -> Attempt:
    """Return the history entry of a document."""
    get = entry.get
    return Attempt(
        attempt=whole(get("attempt"), 0),
        token=text(get("token")),
        worker=text(get("worker")),
        version=text(get("version")),
        start_at=date_or_none(get("startAt")),
        end_at=date_or_none(get("endAt")),
        outcome=_member(Outcome, get("outcome")),
        error=job_error(get("error")),
        code=None if get("code") is None else whole(get("code"), 0),
        late=get("late") if isinstance(get("late"), dict) else None,
        was=get("was") if isinstance(get("was"), dict) else None,
        operation=id_or_none(get("operation")),
        ready_at=date_or_none(get("readyAt")),
        steps=tuple(str(name) for name in entries(get("steps"))) or None,
        forgot=tuple(str(name) for name in entries(get("forgot"))) or None,
    )


def steps(stored: object) -> tuple[Step, ...] | None:
    """Return the steps of a document; ``None`` if it has none."""
    return tuple(_step(entry) for entry in entries(stored) if isinstance(entry, dict)) or None


def _step(entry: Mapping[str, Any]) -> Step:
    get = entry.get
    return Step(
        name=str(get("name", "")),
        kind=_member(StepKind, get("kind")) or StepKind.STEP,
        start_at=date_or_none(get("startAt")),
        end_at=date_or_none(get("endAt")),
        attempt=whole(get("attempt"), 0),
        tries=whole(get("tries"), 1),
        result=get("result"),
        stored=get("stored") is True or None,
        until=date_or_none(get("until")),
        error=job_error(get("error")),
        size=whole(get("size"), 0),
        stored_id=id_or_none(get("storedId")),
        has_result="result" in entry,
        job_ids=None if get("jobIds") is None else whole(get("jobIds"), 0),
        call=_call(mapping(get("call"))),
        signal=text(get("signal")),
        once=text(get("once")),
        once_key=text(get("onceKey")),
    )


def _call(stored: Mapping[str, Any]) -> Call | None:
    call_id, failures = id_or_none(stored.get("id")), stored.get("failures")
    if call_id is None:
        return None
    return Call(
        id=call_id,
        failures=failures if failures in FAILURES else FAILURES[0],
        created=stored.get("created") is True,
        again=stored.get("again") is True,
        failure=ChildFailure.read(stored.get("failure")),
        failed_after=text(stored.get("failedAfter")),
        paged=stored.get("paged") is True,
    )


def children_document(jobs: Children) -> Any:
    """Return child jobs as they are stored."""
    if jobs is None:
        return None
    return plain(jobs) if isinstance(jobs, NewJob) else [plain(job) for job in jobs]


def plain(new: NewJob) -> Document:
    """Return the stored description of a future job."""
    shown = json_form.new_job(new)
    if new.data:
        shown["data"] = dict(new.data)
    if new.meta:
        shown["meta"] = dict(new.meta)
    if new.delay_til:
        shown["delayTil"] = new.delay_til
    if new.start_before is not None:
        shown["startBefore"] = new.start_before
    children = {"onComplete": new.on_complete, "onSuccess": new.on_success, "onFailure": new.on_failure}
    for name, jobs in children.items():
        if jobs is not None:
            shown[name] = children_document(jobs)
    return shown


def children_of(stored: Any, path: str) -> Children:
    """Return child jobs from their stored form, none if it cannot be read."""
    if not stored:
        return None
    try:
        is_list = isinstance(stored, list)
        described = list(map(json_form.snake_children, stored)) if is_list else json_form.snake_children(stored)
        return children(described, path)
    except (InvalidInputError, TooLargeError, AttributeError, TypeError):
        return None


def job_error(stored: object) -> JobError | None:
    """Return the error of a job from its stored form."""
    if not stored or not isinstance(stored, dict):
        return None
    trace = stored.get("trace")
    return JobError(
        kind=str(stored.get("kind", "")),
        message=str(stored.get("message", "")),
        trace=None if trace is None else str(trace),
        step=text(stored.get("step")),
    )


def _claim(stored: Mapping[str, Any]) -> Claim | None:
    token = text(stored.get("token"))
    if token is None:
        return None
    return Claim(
        token=token,
        worker=text(stored.get("worker")) or "",
        own_lease=number(stored.get("lease"), 0) or None,
        margin=max(number(stored.get("margin"), 0), 0),
        beside=date_or_none(stored.get("beside")),
        step=text(stored.get("step")),
        repeats=whole(stored.get("repeats"), 0),
    )


def _retries(stored: Mapping[str, Any]) -> Retries | None:
    at = date_or_none(stored.get("at"))
    return None if at is None else Retries(count=whole(stored.get("count"), 0), at=at)


def _signals(stored: object) -> tuple[Signal, ...] | None:
    return tuple(Signal.read(entry) for entry in entries(stored) if isinstance(entry, dict)) or None


def _callback_of(stored: object) -> dict[str, Any] | None:
    if not isinstance(stored, dict):
        return None
    return {name: str(inner) if isinstance(inner, ObjectId) else inner for name, inner in stored.items()}


def _erased(stored: object) -> dict[str, Any] | None:
    if not isinstance(stored, dict) or date_or_none(stored.get("at")) is None:
        return None
    return {name: str(inner) if isinstance(inner, ObjectId) else inner for name, inner in stored.items()}


def _backoff(stored: object) -> Backoff:
    if stored == _USUAL_BACKOFF:
        return backoffs.DEFAULT
    try:
        return backoffs.DEFAULT if stored is None else backoffs.parse(stored)
    except InvalidInputError:
        return backoffs.DEFAULT


def _member(kind: type[Kind], stored: object) -> Kind | None:
    return _MEMBERS[kind].get(stored) if type(stored) is str else None


def state(stored: object) -> State:
    """Return the state of a job; a spoilt state does not end the job."""
    return _member(State, stored) or State.PENDING


_SELDOM: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "run": ("run", lambda stored: whole(stored, 0)),
    "outbox": ("outbox", texts),
    "traceparent": ("traceparent", trace_context.parent),
    "tracestate": ("tracestate", trace_context.state),
    "slots": ("slots", texts),
    "limitKey": ("limit_key", text),
    "dependencyPolicy": ("dependency_policy", text),
    "ref": ("ref", text),
    "waitsFor": ("waits_for", ids),
    "dependents": ("has_dependents", bool),
    "callbackOf": ("callback_of", _callback_of),
    "schedule": ("schedule", text),
    "scheduledAt": ("scheduled_at", date_or_none),
    "crashes": ("crashes", lambda stored: whole(stored, 0) or None),
    "retries": ("retries", lambda stored: _retries(mapping(stored))),
    "steps": ("steps", steps),
    "wait": ("wait", lambda stored: Wait.read(mapping(stored))),
    "signals": ("signals", _signals),
    "awaitedBy": ("awaited_by", id_or_none),
    "startBefore": ("start_before", date_or_none),
    "erased": ("erased", _erased),
}
"""Fields of a document that most jobs lack: the field of the job, and the function that reads it."""
