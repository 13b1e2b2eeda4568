"""Steps of a running job over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.client.calls import made, pairs
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import CallFailedError, InvalidInputError, StepError, TooLargeError
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.jobs.json_form import date
from jobqueue.domain.jobs.json_form import new_job as new_form
from jobqueue.domain.jobs.json_form import value as json_value
from jobqueue.domain.steps.call import CHILD, Call, ChildFailure
from jobqueue.domain.steps.signal import TIMEOUT, check_signal, check_timeout
from jobqueue.domain.steps.step import Step, StepKind, check_name
from jobqueue.domain.values import payload
from jobqueue.domain.values.checks import check_number
from jobqueue.domain.work.calls import Called

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.client.work.claimed import Claimed, ClaimReports
    from jobqueue.domain.work.calls import NewCall
    from jobqueue.domain.work.verdict import Suspension

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RESULTS_PAGE: Final = 500
_ONE_AT_A_TIME: Final = (
    "over HTTP a job waits for one signal, one step in doubt, or its earliest sleep at a time: "
    "await the waits one after the other"
)


class HttpSteps:
    """The steps of one running job under its claim.

    A wait becomes known to the server when the job is suspended, for one request does both.

    Args:
        reports: sends them.
        claimed: the job.
    """

    def __init__(self, reports: ClaimReports, claimed: Claimed) -> None:
        self._reports = reports
        self._attempt = claimed.job.attempts_made
        self.results: dict[str, Any] = dict(claimed.results)
        self._omitted = list(claimed.omitted)
        self._sleeps: dict[str, dict[str, Any]] = {}
        self._signals: dict[str, dict[str, Any]] = {}

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of finished steps."""
        return (*self.results, *(name for name in self._omitted if name not in self.results))

    def entry(self, name: str) -> Step | None:
        """Return nothing: a claim over HTTP has the results of finished steps only."""
        del name
        return None

    async def begin(self, name: str) -> None:
        """Note nothing: the server learns of a step when it has finished."""

    def leave(self, name: str) -> None:
        """Note nothing, as `begin`."""

    async def result(self, name: str) -> Any:
        """Return the result of a finished step."""
        if name not in self.results:
            self.results[name] = made(json_reading.step, await self._reports.get("steps", name)).result
        return self.results[name]

    async def record(self, name: str, result: Any, *, tries: int, seconds: float) -> Any:
        """Keep the result of a step; return the result that is kept, the first of the name.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
            InvalidInputError, TooLargeError: the name or the result cannot be kept.
        """
        del tries, seconds
        stored, size = payload.plain(result, "result", naive=True)
        if size > payload.MOST_RESULT:
            raise TooLargeError(f"the result of step {name}", size, payload.MOST_RESULT)
        reply = await self._reports.post("steps", name=name, result=json_value(stored))
        self.results[name] = made(lambda recorded: recorded["result"], reply)
        return self.results[name]

    async def begin_sleep(self, name: str, *, seconds: float | None, until: datetime | None) -> Step:
        """Return a sleep, which begins when the job is suspended."""
        check_name(name)
        if seconds is not None:
            check_number("delay", seconds)
        self._sleeps[name] = {"delay": seconds} if until is None else {"until": date(until)}
        return Step(name=name, kind=StepKind.SLEEP, until=until or _EPOCH)

    async def failed(self, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        """Wait in this process until the next try of a step, which the server does not know of; return the step."""
        await asyncio.sleep(wait)
        return Step(name=name, attempt=self._attempt, tries=tries, error=error)

    async def forget(self, name: str) -> None:
        """Refuse to forget a finished step.

        Raises:
            StepError: always.
        """
        raise StepError(f"the result of step {name!r} cannot be forgotten over HTTP: requeue the job from this step")

    async def mark(self, name: str, *, tries: int) -> bool:
        """Mark a step that must not run twice as begun; return False if it must not run now."""
        del tries
        recorded = made(dict, await self._reports.post("steps", name=name, once=True))
        return not recorded["existed"] and not recorded.get("doubt")

    async def unmark(self, name: str) -> None:
        """Take back the mark of a step: nothing has happened."""
        await self._reports.post("steps", name=name, notDone=True)

    async def begin_signal(self, name: str, signal: str, *, seconds: float | None) -> Step:
        """Return a step that waits for a signal once the job is suspended, or has finished in an earlier run."""
        if name in self.finished:
            return Step(name=name, kind=StepKind.SIGNAL, end_at=_EPOCH, error=_timeout(await self.result(name)))
        check_name(name)
        self._signals[name] = {"signal": check_signal(signal), "timeout": check_timeout(seconds)}
        return Step(name=name, kind=StepKind.SIGNAL)

    async def signal_url(self, question: str, signal: str, **how: Any) -> str:
        """Refuse to make a link.

        Raises:
            InvalidInputError: always.
        """
        del question, signal, how
        raise InvalidInputError({"signal_url": ["is not there over HTTP"]})

    async def begin_call(self, name: str, call: NewCall) -> Called:
        """Create the children of a step, each once.

        Raises:
            InvalidInputError, TooLargeError, KeyConflictError: the children cannot be created.
        """
        forms = [new_form(job) for job in call.jobs]
        jobs: Any = forms[0] if call.single else forms
        kind = StepKind.CALL if call.single else StepKind.MAP
        try:
            reply = await self._reports.post("calls", name=name, jobs=jobs, failures=call.failures)
        except CallFailedError as error:
            failure = ChildFailure(id="", state="failed", kind=CHILD, message=str(error))
            reason = JobError(kind=CHILD, message=str(error))
            return Called(step=Step(name=name, kind=kind, call=Call(id="", failure=failure), error=reason))
        called = made(dict, reply)
        if not called["finished"]:
            return Called(step=Step(name=name, kind=kind, call=Call(id="")), unfinished=called["unfinished"])
        self._omitted.append(name)
        return Called(step=Step(name=name, kind=kind, end_at=_EPOCH, stored=True))

    async def child_results(self, name: str) -> AsyncIterator[Any]:
        """Yield the results of the children of a finished step, in their order."""
        cursor: str | None = None
        while True:
            query = pairs({"limit": _RESULTS_PAGE, "cursor": cursor})
            page = made(dict, await self._reports.get("steps", name, "results", query=query))
            for result in page["items"]:
                yield result
            cursor = page["next"]
            if cursor is None:
                return

    def suspension(self, verdict: Suspension) -> dict[str, Any]:
        """Return the body of the request that suspends the job.

        Raises:
            StepError: the job waits for more than one request can say.
        """
        names = verdict.wait.names
        signals = [name for name in names if name in self._signals]
        sleeps = [name for name in names if name in self._sleeps]
        has_children = verdict.wait.jobs is not None
        if verdict.wait.doubt is not None or signals:
            if len(names) > 1 or has_children:
                raise StepError(_ONE_AT_A_TIME)
            if not signals:
                return {"doubt": verdict.wait.doubt}
            wait = {name: value for name, value in self._signals[signals[0]].items() if value is not None}
            return {"name": signals[0], **wait}
        if not sleeps:
            return {}
        first = min(sleeps, key=self._end)
        return {"name": first, **self._sleeps[first]}

    def _end(self, name: str) -> float:
        sleep = self._sleeps[name]
        if "delay" in sleep:
            return float(sleep["delay"])
        return (datetime.fromisoformat(sleep["until"]) - datetime.now(UTC)).total_seconds()


def _timeout(result: Any) -> JobError | None:
    """Return the error of a step that has waited for a signal in vain, from its result."""
    error = result.get("error") if isinstance(result, dict) and result.keys() == {"error"} else None
    if isinstance(error, dict) and error.get("kind") == TIMEOUT:
        return JobError(kind=TIMEOUT, message=str(error.get("message", "")))
    return None
