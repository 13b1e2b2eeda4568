"""Jobs and their parts read from the JSON that `json_form` writes, for programs that have the queue over HTTP only.

Dates in ``data``, ``meta`` and results are text in JSON, and stay text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs.job import Children, Job, NewJob
from jobqueue.domain.jobs.json_form import NAMES, snake_children
from jobqueue.domain.jobs.late import LEFT_OUT, PartialJob
from jobqueue.domain.steps.signal import Signal
from jobqueue.domain.steps.step import Step, StepKind, Wait
from jobqueue.domain.values.iso8601 import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Form = Mapping[str, Any]
    Readers = Mapping[str, Callable[[Any], Any]]

_DATES: Final = ("delayTil", "startBefore")
_EVENTS: Final = ("onComplete", "onSuccess", "onFailure")


def job(form: Form) -> Job:
    """Return a job; one without a result, logs and history is a `PartialJob`, in which these look empty.

    Raises:
        KeyError, TypeError, ValueError, InvalidInputError: the JSON is no job.
    """
    values = _values(Job, form, _JOB)
    if "result" in values and "history" in values:
        return Job(**values)
    empty: dict[str, Any] = {"result": None, "logs": (), "history": ()}
    return PartialJob(**{name: empty[name] for name in LEFT_OUT if name in empty} | values)


def new_job(form: Form) -> NewJob:
    """Return a new job, its children included.

    Raises:
        InvalidInputError, TypeError, ValueError: the JSON is no job.
    """
    return NewJob(**snake_children(_with_dates(form)))


def children(form: Any) -> Children:
    """Return child jobs: one, several or none."""
    if form is None:
        return None
    return new_job(form) if isinstance(form, dict) else tuple(map(new_job, form))


def log_line(form: Form) -> LogLine:
    """Return a log line."""
    return LogLine(**_values(LogLine, form, {"t": moment}))


def step(form: Form) -> Step:
    """Return a step; ``has_result`` tells whether its result is there."""
    return Step(**_values(Step, form, _STEP), has_result="result" in form)


def error(form: Form | None) -> JobError | None:
    """Return the reason why an attempt did not succeed."""
    return None if form is None else JobError(**_values(JobError, form, {}))


def date(text: Any) -> Any:
    """Return a date, or ``None``."""
    return None if text is None else moment(text)


def _values(kind: Any, form: Form, readers: Readers) -> dict[str, Any]:
    """Return the values of the attributes of a class, as far as the JSON has them."""
    return {
        attribute: readers[attribute](form[name]) if attribute in readers else form[name]
        for attribute, name in NAMES[kind]
        if name in form
    }


def _with_dates(form: Form) -> dict[str, Any]:
    read = dict(form)
    for name in _DATES:
        if isinstance(read.get(name), str):
            read[name] = moment(read[name])
    for name in _EVENTS:
        inner = read.get(name)
        if inner is not None:
            read[name] = _with_dates(inner) if isinstance(inner, dict) else [_with_dates(child) for child in inner]
    return read


def _tuple(values: Any) -> Any:
    return None if values is None else tuple(values)


def _claim(form: Form | None) -> Claim | None:
    if form is None:
        return None
    # A reader without the role `work` is shown no token.
    return Claim(**_values(Claim, form, {"token": lambda token: token or ""}))


def _attempt(form: Form) -> Attempt:
    return Attempt(**_values(Attempt, form, _ATTEMPT))


def _signal(form: Form) -> Signal:
    return Signal(**_values(Signal, form, {"at": date}), has_value="value" in form)


def _wait(form: Form | None) -> Wait | None:
    return None if form is None else Wait(**_values(Wait, form, {"names": tuple, "signals": _tuple, "until": date}))


_ATTEMPT: Final[Readers] = {
    "start_at": date,
    "end_at": date,
    "outcome": lambda word: None if word is None else Outcome(word),
    "error": error,
    "steps": _tuple,
    "forgot": _tuple,
}
_STEP: Final[Readers] = {"kind": StepKind, "start_at": date, "end_at": date, "until": date, "error": error}
_JOB: Final[Readers] = {
    **dict.fromkeys(("insert_at", "start_at", "end_at", "delay_til", "reset_at", "scheduled_at", "start_before"), date),
    **dict.fromkeys(("on_complete", "on_success", "on_failure"), children),
    "backoff": backoffs.parse,
    "depends_on": tuple,
    "parents": _tuple,
    "logs": lambda lines: tuple(map(log_line, lines)),
    "history": lambda entries: tuple(map(_attempt, entries)),
    "error": error,
    "claim": _claim,
    "state": State,
    "steps": lambda steps: tuple(map(step, steps)),
    "wait": _wait,
    "signals": lambda signals: tuple(map(_signal, signals)),
}
