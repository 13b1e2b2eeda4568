"""The parts of jobs that exist only in memory, for calls of a task here and now and for unit tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import Job
from jobqueue.domain.steps.step import Step, StepKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.work.calls import Called, NewCall
    from jobqueue.domain.work.verdict import Relatives, Reporter

_ID: Final = "0" * 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The past that a test gives a job.

    Attributes:
        attempt: the number of the present attempt.
        steps: results of finished steps, by name.
        results: results of the dependencies, by ref.
        signals: values of signals that have come, by name.
    """

    attempt: int = 1
    steps: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    signals: Mapping[str, Any] = field(default_factory=dict)


def parts(new: NewJob, past: Past | None = None) -> tuple[Job, Reporter, Relatives]:
    """Return the parts of a job in memory."""
    past = past or Past()
    return _job(new, past), _Reporter(past), cast("Relatives", _NoRelatives())


class _Steps:
    """Keeps steps in memory; every sleep is over at once, and nobody could send a signal or run a child."""

    def __init__(self, past: Past) -> None:
        self.results: dict[str, Any] = dict(past.steps)
        self._signals = past.signals
        self._failed: dict[str, Step] = {}

    @property
    def finished(self) -> tuple[str, ...]:
        return tuple(self.results)

    async def begin(self, name: str) -> None:
        del name

    def leave(self, name: str) -> None:
        del name

    def entry(self, name: str) -> Step | None:
        return self._failed.get(name)

    async def result(self, name: str) -> Any:
        return self.results[name]

    async def record(self, name: str, result: Any, *, tries: int, seconds: float) -> Any:
        del tries, seconds
        return self.results.setdefault(name, result)

    async def begin_sleep(self, name: str, *, seconds: float | None, until: datetime | None) -> Step:
        del seconds, until
        self.results[name] = None
        return Step(name=name, kind=StepKind.SLEEP, end_at=datetime.now(UTC))

    async def failed(self, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        del wait
        self._failed[name] = Step(name=name, tries=tries, attempt=1, error=error)
        return self._failed[name]

    async def forget(self, name: str) -> None:
        self.results.pop(name, None)

    async def mark(self, name: str, *, tries: int) -> bool:
        del name, tries
        return True

    async def unmark(self, name: str) -> None:
        del name

    async def begin_signal(self, name: str, signal: str, *, seconds: float | None) -> Step:
        del seconds
        if signal not in self._signals:
            raise _needs_a_queue(f"the signal {signal!r}")
        self.results[name] = self._signals[signal]
        return Step(name=name, kind=StepKind.SIGNAL, end_at=datetime.now(UTC))

    async def signal_url(self, question: str, signal: str, **how: Any) -> str:
        del question, how
        raise _needs_a_queue(f"the signal {signal!r}")

    async def begin_call(self, name: str, call: NewCall) -> Called:
        del call
        raise _needs_a_queue(f"the call {name!r}")

    def child_results(self, name: str) -> AsyncIterator[Any]:
        raise _needs_a_queue(f"the call {name!r}")


class _Reporter:
    """Drops logs and progress."""

    def __init__(self, past: Past) -> None:
        self.steps = _Steps(past)

    async def log(self, line: str, level: str | None = None) -> None:
        del line, level

    async def progress(self, percent: float) -> None:
        del percent


class _NoRelatives:
    """Refuses to look for the relatives of a job that no queue has."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _needs_a_queue(name)


def _needs_a_queue(what: str) -> RuntimeError:
    return RuntimeError(f"{what} needs a job of a queue; this job exists only in memory")


def _job(new: NewJob, past: Past) -> Job:
    now = datetime.now(UTC)
    return Job(
        id=_ID,
        queue=new.queue,
        type=new.type,
        data=new.data,
        meta=new.meta,
        priority=new.priority or 0,
        attempts=new.attempts or 1,
        attempts_made=past.attempt,
        backoff=new.backoff or FixedBackoff(0),
        delay=0,
        lease=new.lease or 0,
        timeout=new.timeout,
        insert_at=now,
        start_at=now,
        end_at=None,
        delay_til=None,
        reset_at=None,
        batch_id=None,
        parent_id=None,
        depends_on=(),
        progress=0,
        logs=(),
        result=None,
        error=None,
        history=(),
        state=State.PROCESSING,
        on_success_delete=False,
        on_complete=None,
        on_success=None,
        on_failure=None,
        key=new.key,
        claim=None,
        parents=tuple(_parent(ref, result) for ref, result in past.results.items()),
    )


def _parent(ref: str, result: Any) -> dict[str, Any]:
    return {"id": _ID, "type": ref, "state": State.SUCCESS.value, "ref": ref, "result": result}
