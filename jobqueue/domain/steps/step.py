"""Steps of a job: parts of its work that are done once and whose results are kept with the job.

A step is found by its name, never by its order, so a job may change between two attempts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.steps.call import Call

MOST_STEPS: Final = 1_000
"""Steps of one run of a job."""
LONGEST_NAME: Final = 100
MOST_RESULTS: Final = 64 * 1024 * 1024
"""Bytes that the results of all steps of a run may take."""
INLINE_RESULT: Final = 16 * 1024
"""Bytes of the largest result that is kept in the document of its job."""
SMALL_RESULT: Final = 256
"""Bytes of a result that is kept in the document of its job whatever the number of steps."""
INLINE_STEPS: Final = 100
"""Results that are kept in the document of their job; more are kept outside of it, but small ones."""
INLINE_RESULTS: Final = 1024 * 1024
"""Bytes that results in the document of their job may take together."""
RESERVED: Final = "undo:"
"""Names that begin so are kept for later."""
STEP: Final = "step"
"""Kind of the error of an attempt whose step has a result that cannot be kept, or a name that cannot be used."""


class StepKind(StrEnum):
    """The kinds of steps."""

    STEP = "step"
    SLEEP = "sleep"
    SIGNAL = "signal"
    CALL = "call"
    MAP = "map"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a job. A step without ``end_at`` has not finished.

    Attributes:
        attempt: the number of the attempt in which it finished, or was last tried.
        tries: how often it was run in this run of the job.
        result: of a finished step, where it is kept in the document.
        stored: True if the result is kept outside of the document.
        until: the end of a sleep, or of the wait before the next try.
        error: of the last try that failed.
        size: bytes of the result.
        stored_id: the id of the result that is kept outside of the document.
        job_ids: the number of awaited children.
        call: the awaited children.
        has_result: False where ``result`` says nothing: the step has none yet, or its result was not read.
        signal: the name of the signal that it waits for.
        once: of a step that must not run twice and has begun: the token of the claim under which it runs.
        once_key: the key of the request that has begun such a step, if it had one.
    """

    name: str
    kind: StepKind = StepKind.STEP
    start_at: datetime | None = None
    end_at: datetime | None = None
    attempt: int = 0
    tries: int = 1
    result: Any = None
    stored: bool | None = None
    until: datetime | None = None
    error: JobError | None = None
    size: int = 0
    stored_id: str | None = None
    has_result: bool = True
    signal: str | None = None
    once: str | None = None
    once_key: str | None = None
    job_ids: int | None = None
    call: Call | None = None

    @property
    def is_finished(self) -> bool:
        """True if the result of the step holds."""
        return self.end_at is not None

    @property
    def was_in_vain(self) -> bool:
        """True if it has waited for a signal that has not come."""
        return self.kind is StepKind.SIGNAL and self.is_finished and self.error is not None

    @property
    def awaits(self) -> bool:
        """True if the step has children, and no result yet."""
        return self.call is not None and not self.is_finished

    @property
    def is_paged(self) -> bool:
        """True if the results are too large for one value: they stay with the children."""
        return self.call is not None and self.call.paged


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The reason why a suspended job waits.

    Attributes:
        names: of the steps for which it waits.
        until: the end of the wait; ``None`` if only something from outside ends it.
        signals: the names of signals that end it.
        jobs: the number of awaited children that had not ended when it began.
        doubt: the step of which a person has to say whether it happened.
    """

    names: tuple[str, ...] = ()
    until: datetime | None = None
    signals: tuple[str, ...] | None = None
    jobs: int | None = None
    doubt: str | None = None

    @property
    def is_open(self) -> bool:
        """True if something else than its time ends the wait."""
        return bool(self.signals) or self.jobs is not None or self.doubt is not None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Wait | None:
        """Return a wait from its stored form, whatever another tool has made of it; ``None`` of an empty form."""
        if not stored:
            return None
        names, signals, until, jobs = (stored.get(name) for name in ("names", "signals", "until", "jobs"))
        doubt = stored.get("doubt")
        return cls(
            names=tuple(map(str, names)) if isinstance(names, list) else (),
            until=until if isinstance(until, datetime) else None,
            signals=(tuple(map(str, signals)) if isinstance(signals, list) else ()) or None,
            jobs=None if jobs is None else (jobs if isinstance(jobs, int) else 0),
            doubt=None if doubt is None else str(doubt),
        )


def check_name(name: object, path: str = "name") -> str:
    """Return the name of a step.

    Raises:
        InvalidInputError: the name is no text of 1 to 100 printable characters, or it is reserved.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidInputError({path: [f"must be 1 to {LONGEST_NAME} printable characters"]})
    if name.startswith(RESERVED):
        raise InvalidInputError({path: [f"must not begin with {RESERVED}"]})
    return name


def numbered(name: str, number: int) -> str:
    """Return the name of the use of a step that has this number in one run: the first use has the name itself."""
    return name if number == 1 else f"{name[: LONGEST_NAME - 1 - len(str(number))]}#{number}"


def sleep_begun_since(steps: Iterable[Step], moment: datetime | None) -> Step | None:
    """Return a sleep that was noted since a moment and is not over; a sleep that was noted earlier says nothing."""
    for step in steps:
        is_open = step.kind is StepKind.SLEEP and not step.is_finished
        if is_open and moment is not None and step.start_at is not None and step.start_at >= moment:
            return step
    return None


def ended_since(steps: Iterable[Step], moment: datetime | None) -> bool:
    """Return True if a step has finished since a moment, such as the start of the present attempt."""
    return any(step.end_at is not None and (moment is None or step.end_at >= moment) for step in steps)


class _Unforgotten:
    """Tell a requeue that names no step from the step ``None``."""


UNFORGOTTEN: Final = _Unforgotten()
FromStep = str | None | _Unforgotten


def as_json(first: FromStep) -> dict[str, str | None]:
    """Return the first step that runs again as ``fromStep`` of a JSON object; an empty object if none is named."""
    return {} if isinstance(first, _Unforgotten) else {"fromStep": first}


def to_forget(steps: Iterable[Step], first: FromStep, *, is_over: bool, failed: str | None = None) -> set[str] | None:
    """Return the names of the steps that run again after a requeue; ``None`` for all.

    Args:
        steps: of the job.
        first: the first step that runs again, with all that finished after it; ``None`` for all steps; `UNFORGOTTEN`
            for those that have not finished and the one that has failed, or for all if the work is over.
        is_over: the job has succeeded, or is given other data.
        failed: the name of the step that has failed; it may have left nothing that could be forgotten.

    Raises:
        InvalidInputError: the job has no step of this name.
    """
    known = {step.name: step for step in steps}
    if isinstance(first, _Unforgotten):
        if is_over:
            return None
        return {name for name in (failed,) if name in known and known[name].was_in_vain}
    if first is None:
        return None
    places = {name: place for place, name in enumerate(known)}
    if first not in known and first == failed:
        return set()
    if first not in known:
        raise InvalidInputError({"fromStep": [f"the job has no step {first!r}"]})
    end_at = known[first].end_at
    # Of steps that have finished in the same millisecond, the one that was recorded later has finished later.
    since = (end_at, places[first])
    later = {name for name, step in known.items() if end_at and step.end_at and (step.end_at, places[name]) > since}
    begun = {
        name for name, step in known.items() if end_at and step.awaits and step.start_at and step.start_at >= end_at
    }
    return {first} | later | begun


def results(steps: Iterable[Step], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of finished steps by name.

    Args:
        steps: of a job.
        stored: results that are kept outside of the document, by name; results that are missing are left out.
    """
    return {
        step.name: stored[step.name] if step.stored else plain_result(step)
        for step in steps
        if step.is_finished and (not step.stored or step.name in stored)
    }


def plain_result(step: Step) -> Any:
    """Return the result of a finished step; a wait that was in vain has ``{"error": {"kind", "message"}}``."""
    if step.error is None:
        return step.result
    return {"error": {"kind": step.error.kind, "message": step.error.message}}
