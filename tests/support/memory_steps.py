"""Steps that are kept in memory, for tests of processors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobqueue.domain.steps.call import Call
from jobqueue.domain.steps.step import Step, StepKind
from jobqueue.domain.work.calls import Called

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.work.calls import NewCall


class MemorySteps:
    """Keeps steps; sleeps never end."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.entries: dict[str, Step] = {}
        self.calls: dict[str, NewCall] = {}

    @property
    def finished(self) -> tuple[str, ...]:
        return tuple(self.results)

    async def begin(self, name: str) -> None:
        """Take steps."""

    def leave(self, name: str) -> None:
        """Forget nothing."""

    def entry(self, name: str) -> Step | None:
        return self.entries.get(name)

    async def result(self, name: str) -> Any:
        return self.results[name]

    async def record(self, name: str, result: Any, *, tries: int = 1, seconds: float = 0) -> Any:  # noqa: ARG002 - kept by the real ones
        return self.results.setdefault(name, result)

    async def begin_sleep(self, name: str, *, seconds: float | None, until: datetime | None) -> Step:
        end = until or datetime.now(UTC) + timedelta(seconds=seconds or 0)
        return self.entries.setdefault(name, Step(name=name, kind=StepKind.SLEEP, until=end))

    async def forget(self, name: str) -> None:
        self.results.pop(name, None)

    async def mark(self, name: str, *, tries: int) -> bool:
        is_new = name not in self.entries
        self.entries[name] = Step(name=name, tries=tries, once="token")
        return is_new

    async def unmark(self, name: str) -> None:
        del self.entries[name]

    async def begin_signal(self, name: str, signal: str, *, seconds: float | None) -> Step:
        end = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
        made = Step(name=name, kind=StepKind.SIGNAL, signal=signal, until=end)
        return self.entries.setdefault(name, made)

    async def signal_url(self, question: str, signal: str, **how: Any) -> str:
        return f"http://localhost/answer/{question}/{signal}/{len(how)}"

    async def failed(self, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        until = datetime.now(UTC) + timedelta(seconds=wait)
        self.entries[name] = Step(name=name, tries=tries, error=error, until=until)
        return self.entries[name]

    async def begin_call(self, name: str, call: NewCall) -> Called:
        """Children never end; those of a name are created once."""
        self.calls.setdefault(name, call)
        kind = StepKind.CALL if call.single else StepKind.MAP
        step = Step(name=name, kind=kind, job_ids=len(call.jobs), call=Call(id="0" * 24, created=True))
        return Called(step=self.entries.setdefault(name, step), unfinished=len(call.jobs))

    async def child_results(self, name: str) -> AsyncIterator[Any]:
        for result in self.results[name]:
            yield result
