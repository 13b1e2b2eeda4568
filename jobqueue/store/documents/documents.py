"""Documents of the `jobs` collection to and from jobs of the domain."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bson import ObjectId

from jobqueue.domain.durations import is_number
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.jobs import backoff as backoffs
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.attempt import Attempt, Claim, JobError, LogLine, Retries
from jobqueue.domain.jobs.attributes import attributes
from jobqueue.domain.jobs.call import FAILURES, Call, ChildFailure
from jobqueue.domain.jobs.job import DEFAULT_QUEUE, Children, Job, NewJob, children
from jobqueue.domain.jobs.signal import Signal
from jobqueue.domain.jobs.states import Outcome, State
from jobqueue.domain.jobs.step import Step, StepKind, Wait
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.store.mongo.clock import EPOCH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.backoff import Backoff
    from jobqueue.store.documents.statements import Document

Tick = tuple[str, datetime]
"""The name of a schedule, and the date of one of its jobs."""
LEAN: Final = {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0, "steps.result": 0, "signals.value": 0}
"""A projection that leaves out the fields that can be large."""
CHILD_FIELDS: Final = ("onComplete", "onSuccess", "onFailure")
"""The fields of child jobs and of the callbacks of a batch."""
Kind = TypeVar("Kind", State, Outcome, StepKind)
_DEFAULTS: Final = QueueConfig()
_LARGEST: Final = 2**63 - 1


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
        queue=_text(get("queue")) or DEFAULT_QUEUE,
        type=str(get("type", "")),
        data=mapping(get("data")),
        meta=mapping(get("meta")),
        priority=_whole(get("priority"), _DEFAULTS.priority),
        attempts=_whole(get("attempts"), _DEFAULTS.attempts),
        attempts_made=_whole(get("attemptsMade"), 0),
        backoff=_backoff(get("backoff")),
        delay=_number(get("delay"), 0),
        lease=_number(get("lease"), _DEFAULTS.lease),
        timeout=None if get("timeout") is None else _number(get("timeout"), 0),
        insert_at=date_or_none(get("insertAt")) or EPOCH,
        start_at=date_or_none(get("startAt")),
        end_at=date_or_none(get("endAt")),
        delay_til=date_or_none(get("delayTil")),
        reset_at=date_or_none(get("resetAt")),
        batch_id=_id(get("batchId")),
        parent_id=_id(get("parentId")),
        depends_on=_ids(get("dependsOn")),
        progress=_number(get("progress"), 0),
        logs=tuple(log_line(mapping(line)) for line in _list(get("logs"))),
        result=get("result"),
        error=job_error(get("error")),
        history=tuple(attempt(mapping(entry)) for entry in _list(get("history"))),
        state=state(get("state")),
        on_success_delete=bool(get("onSuccessDelete")),
        on_complete=children_of(get("onComplete"), "onComplete"),
        on_success=children_of(get("onSuccess"), "onSuccess"),
        on_failure=children_of(get("onFailure"), "onFailure"),
        key=_text(get("key")),
        claim=_claim(mapping(get("claim"))),
        run=_whole(get("run"), 0),
        log_count=_whole(get("logCount"), len(_list(get("logs")))),
        outbox=tuple(str(note) for note in _list(get("outbox"))),
        traceparent=_text(get("traceparent")),
        slots=tuple(str(slot) for slot in _list(get("slots"))),
        limit_key=_text(get("limitKey")),
        dependency_policy=_text(get("dependencyPolicy")),
        ref=_text(get("ref")),
        waits_for=_ids(get("waitsFor")),
        has_dependents=bool(get("dependents")),
        callback_of=_callback_of(get("callbackOf")),
        schedule=_text(get("schedule")),
        scheduled_at=date_or_none(get("scheduledAt")),
        crashes=_whole(get("crashes"), 0) or None,
        retries=_retries(mapping(get("retries"))),
        steps=steps(get("steps")),
        wait=Wait.read(mapping(get("wait"))),
        signals=tuple(Signal.read(entry) for entry in _list(get("signals")) if isinstance(entry, dict)) or None,
        awaited_by=_id(get("awaitedBy")),
    )


def log_line(line: Mapping[str, Any]) -> LogLine:
    """Return the log line of a document."""
    return LogLine(
        t=date_or_none(line.get("t")) or EPOCH,
        m=str(line.get("m", "")),
        level=_text(line.get("level")),
        attempt=None if line.get("attempt") is None else _whole(line["attempt"], 0),
    )


def attempt(entry: Mapping[str, Any]) -> Attempt:
    """Return the history entry of a document."""
    get = entry.get
    return Attempt(
        attempt=_whole(get("attempt"), 0),
        token=_text(get("token")),
        worker=_text(get("worker")),
        start_at=date_or_none(get("startAt")),
        end_at=date_or_none(get("endAt")),
        outcome=_member(Outcome, get("outcome")),
        error=job_error(get("error")),
        code=None if get("code") is None else _whole(get("code"), 0),
        late=get("late") if isinstance(get("late"), dict) else None,
        was=get("was") if isinstance(get("was"), dict) else None,
        operation=_id(get("operation")),
        ready_at=date_or_none(get("readyAt")),
        steps=tuple(str(name) for name in _list(get("steps"))) or None,
        forgot=tuple(str(name) for name in _list(get("forgot"))) or None,
    )


def steps(stored: object) -> tuple[Step, ...] | None:
    """Return the steps of a document; ``None`` if it has none."""
    return tuple(_step(entry) for entry in _list(stored) if isinstance(entry, dict)) or None


def _step(entry: Mapping[str, Any]) -> Step:
    get = entry.get
    return Step(
        name=str(get("name", "")),
        kind=_member(StepKind, get("kind")) or StepKind.STEP,
        start_at=date_or_none(get("startAt")),
        end_at=date_or_none(get("endAt")),
        attempt=_whole(get("attempt"), 0),
        tries=_whole(get("tries"), 1),
        result=get("result"),
        stored=get("stored") is True or None,
        until=date_or_none(get("until")),
        error=job_error(get("error")),
        size=_whole(get("size"), 0),
        stored_id=_id(get("storedId")),
        has_result="result" in entry,
        job_ids=None if get("jobIds") is None else _whole(get("jobIds"), 0),
        call=_call(mapping(get("call"))),
        signal=_text(get("signal")),
        once=_text(get("once")),
    )


def _call(stored: Mapping[str, Any]) -> Call | None:
    call_id, failures = _id(stored.get("id")), stored.get("failures")
    if call_id is None:
        return None
    return Call(
        id=call_id,
        failures=failures if failures in FAILURES else FAILURES[0],
        created=stored.get("created") is True,
        again=stored.get("again") is True,
        failure=ChildFailure.read(stored.get("failure")),
        failed_after=_text(stored.get("failedAfter")),
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
    for name, jobs in (
        ("onComplete", new.on_complete),
        ("onSuccess", new.on_success),
        ("onFailure", new.on_failure),
    ):
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
        step=_text(stored.get("step")),
    )


def _claim(stored: Mapping[str, Any]) -> Claim | None:
    token = _text(stored.get("token"))
    if token is None:
        return None
    return Claim(
        token=token,
        worker=_text(stored.get("worker")) or "",
        own_lease=_number(stored.get("lease"), 0) or None,
        margin=max(_number(stored.get("margin"), 0), 0),
        beside=date_or_none(stored.get("beside")),
        step=_text(stored.get("step")),
    )


def _retries(stored: Mapping[str, Any]) -> Retries | None:
    at = date_or_none(stored.get("at"))
    return None if at is None else Retries(count=_whole(stored.get("count"), 0), at=at)


def _callback_of(stored: object) -> dict[str, Any] | None:
    if not isinstance(stored, dict):
        return None
    return {name: str(inner) if isinstance(inner, ObjectId) else inner for name, inner in stored.items()}


def _backoff(stored: object) -> Backoff:
    try:
        return backoffs.DEFAULT if stored is None else backoffs.parse(stored)
    except InvalidInputError:
        return backoffs.DEFAULT


def _member(kind: type[Kind], stored: object) -> Kind | None:
    return kind(stored) if type(stored) is str and stored in kind.__members__.values() else None


def state(stored: object) -> State:
    """Return the state of a job; a spoilt state does not end the job."""
    return _member(State, stored) or State.PENDING


def date_or_none(stored: object) -> datetime | None:
    """Return a date, or ``None`` for any other value and for a date beyond Python's range."""
    return stored if isinstance(stored, datetime) else None


def _text(stored: object) -> str | None:
    return stored if type(stored) is str else None


def _list(stored: object) -> list[Any]:
    return stored if isinstance(stored, list) else []


def _id(stored: object) -> str | None:
    return str(stored) if isinstance(stored, str | ObjectId) and ObjectId.is_valid(stored) else None


def _ids(stored: object) -> tuple[str, ...]:
    return tuple(text for entry in _list(stored) if (text := _id(entry)) is not None)


def mapping(stored: object) -> dict[str, Any]:
    """Return an object as it is, and an empty object for any other value."""
    return stored if isinstance(stored, dict) else {}


def _whole(stored: object, default: int) -> int:
    """Return a whole number that JSON and MongoDB can take; another tool may have stored a larger number."""
    return int(min(max(_number(stored, default), -_LARGEST), _LARGEST))


def _number(stored: object, default: float) -> float:
    return stored if is_number(stored) else default
