"""The JSON form of what the domain knows: camelCase names, ISO 8601 dates with milliseconds and Z.

The one place where snake_case becomes camelCase; the HTTP API, webhooks, the command line and the store share it.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine
from jobqueue.domain.attempts.backoff import ExponentialBackoff, FixedBackoff, SteppedBackoff
from jobqueue.domain.jobs.job import Children, Job, NewJob
from jobqueue.domain.jobs.late import LEFT_OUT, PartialJob
from jobqueue.domain.steps.signal import Signal
from jobqueue.domain.steps.step import Step, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


INTERNAL: Final = frozenset(
    {"run", "log_count", "outbox", "own_lease", "margin", "slots", "limit_key"}
    | {"waits_for", "has_dependents", "ready_at", "beside", "retries", "stored_id", "has_result"}
    | {"signal", "once", "once_key", "has_value"}
    | {"call", "awaited_by", "repeats"}
)
_SPARSE: Final = {
    "version",
    "late",
    "was",
    "operation",
    "trace",
    "level",
    "dependency_policy",
    "ref",
    "callback_of",
    "parents",
} | {
    "schedule",
    "scheduled_at",
    "traceparent",
    "tracestate",
    "crashes",
    "steps",
    "wait",
    "stored",
    "job_ids",
    "until",
    "signals",
    "jobs",
    "doubt",
    "step",
    "forgot",
    "taken",
    "start_before",
    "erased",
}


@cache
def camel(name: str) -> str:
    """Return the JSON name of a Python one: ``on_success_delete`` is ``onSuccessDelete``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
NAMES: Final = {
    kind: tuple((item.name, camel(item.name)) for item in fields(kind) if item.name not in INTERNAL)
    for kind in (Job, NewJob, Attempt, Claim, JobError, LogLine, Step, Wait, Signal)
}
"""Attributes of each class that are shown, each with its JSON name."""


_FORMS: Final = {
    kind: (
        tuple(name for _, name in names),
        attrgetter(*(attribute for attribute, _ in names)),
        tuple(name for attribute, name in names if attribute in _SPARSE),
    )
    for kind, names in NAMES.items()
}
"""By type: the JSON names, a function that reads their values, and the names that ``None`` leaves out."""


def date(value: datetime) -> str:
    """Return a date as ISO 8601 with milliseconds and ``Z``."""
    if value.tzinfo is not UTC:
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    return value.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def value(any_value: Any) -> Any:
    """Return any stored value as JSON; what JSON does not have becomes its text."""
    if type(any_value) in _SCALARS or isinstance(any_value, str | int | float):
        return any_value
    if isinstance(any_value, datetime):
        return date(any_value)
    if isinstance(any_value, dict):
        return {str(key): inner if type(inner) in _SCALARS else value(inner) for key, inner in any_value.items()}
    if isinstance(any_value, list | tuple):
        return [inner if type(inner) in _SCALARS else value(inner) for inner in any_value]
    return str(any_value)


def job(stored: Job) -> dict[str, Any]:
    """Return a job as JSON."""
    shown: dict[str, Any] = _plain(stored)
    return shown


def without_tokens(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a job's JSON without the tokens of its claims."""
    hidden: dict[str, Any] = {}
    if shown.get("claim"):
        hidden["claim"] = {**shown["claim"], "token": None}
    if shown.get("history"):
        hidden["history"] = [{**entry, "token": None} for entry in shown["history"]]
    return {**shown, **hidden}


def attribute(stored: Job, name: str) -> Any:
    """Return what a job has under a JSON name, as it is."""
    return getattr(stored, next(attribute for attribute, known in NAMES[Job] if known == name))


def new_job(new: NewJob) -> dict[str, Any]:
    """Return a new job as JSON, only with the fields that were given."""
    return {
        name: inner
        for name, inner in _plain(new).items()
        if inner is not None and (inner or name not in {"data", "meta", "dependsOn"})
    }


def log_line(line: LogLine) -> dict[str, Any]:
    """Return a log line as JSON, only with the fields it has."""
    return {name: inner for name, inner in _plain(line).items() if inner is not None}


def error(reason: JobError) -> dict[str, Any]:
    """Return an error as JSON."""
    more = {"trace": reason.trace, "step": reason.step}
    return {"kind": reason.kind, "message": reason.message} | {
        name: text for name, text in more.items() if text is not None
    }


def handed(claimed: Job, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claimed job as JSON for its worker: in place of its steps, the results of the finished ones by name.

    Args:
        claimed: the job.
        results: of finished steps; ``omittedSteps`` names finished steps whose results are not among them, and
            ``stepErrors`` has the errors of steps whose children have failed.
    """
    omitted = [step.name for step in claimed.steps or () if step.is_finished and step.name not in results]
    failed = {step.name: error(step.error) for step in claimed.steps or () if step.awaits and step.error is not None}
    more: dict[str, Any] = {"omittedSteps": omitted, "stepErrors": failed}
    return job(claimed) | {"steps": value(dict(results))} | {name: inner for name, inner in more.items() if inner}


def children(jobs: Children) -> Any:
    """Return child jobs as JSON: one, a list, or ``None``."""
    return _convert(jobs)


def _plain(thing: Any) -> Any:
    if isinstance(thing, NewJob):
        return {
            name: inner
            for attribute, name in NAMES[NewJob]
            if (inner := _convert(getattr(thing, attribute))) is not None
        }
    names, read, sparse = _FORMS.get(type(thing), _FORMS[Job])
    shown = dict(zip(names, read(thing), strict=True))
    for name in sparse:
        if shown[name] is None:
            del shown[name]
    for name in _left_out(thing):
        shown.pop(name, None)
    for name, inner in shown.items():
        if type(inner) not in _SCALARS:
            shown[name] = _convert(inner)
    return shown


def _left_out(thing: Any) -> tuple[str, ...]:
    """Return the names of fields that are not known, or not there, though their value may be ``None``."""
    if isinstance(thing, PartialJob):
        return LEFT_OUT
    if isinstance(thing, Step):
        is_shown = {"result": thing.has_result, "error": thing.error}
        return tuple(name for name, value_of_it in is_shown.items() if not value_of_it)
    return ("value",) if isinstance(thing, Signal) and not thing.has_value else ()


def _convert(inner: Any) -> Any:
    write = _WRITERS.get(type(inner))
    if write is None:
        # Jobs of tasks are a class of their own, which is made elsewhere.
        write = new_job if isinstance(inner, NewJob) else value
    return write(inner)


def _listed(items: tuple[Any, ...]) -> list[Any]:
    return [_convert(item) for item in items]


_WRITERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    NewJob: new_job,
    tuple: _listed,
    **{kind: kind.wire for kind in (FixedBackoff, SteppedBackoff, ExponentialBackoff)},
    **dict.fromkeys((Attempt, Claim, JobError, LogLine, Step, Wait, Signal), _plain),
}
"""Functions that write the types of the domain as JSON."""


def snake_children(child: Mapping[str, Any]) -> dict[str, Any]:
    """Return a child job's JSON with its names in snake_case, its own children included."""
    known = {name: attribute for attribute, name in NAMES[NewJob]}
    return {
        known.get(name, name): _children(inner) if name in {"onComplete", "onSuccess", "onFailure"} else inner
        for name, inner in child.items()
    }


def _children(stored: Any) -> Any:
    if isinstance(stored, list):
        return [_children(item) for item in stored]
    return snake_children(stored) if isinstance(stored, dict) else stored
