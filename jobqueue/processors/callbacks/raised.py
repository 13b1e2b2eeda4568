"""Turn an exception that ended a handler into a verdict, however odd the exception is."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.attempt import LONGEST_TRACE, JobError
from jobqueue.domain.durations import seconds
from jobqueue.domain.errors import Die, JobCancelledError, Retry, StepError
from jobqueue.domain.steps.call import CHILD
from jobqueue.domain.steps.step import STEP
from jobqueue.domain.text import cut_middle, told, type_name
from jobqueue.domain.work.calls import ChildFailedError
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_HERE: Final = str(Path(__file__).parents[1])
_MOST_LINKS: Final = 1000
_STEP_MARK: Final = "_jobqueue_step"
"""The attribute of an exception that names the step that it came out of."""


class Suspended(BaseException):
    """End the thread of a plain handler whose job waits."""


def verdict_on(error: BaseException) -> Verdict:
    """Return the verdict on a job whose handler raised an exception; never raise.

    A `Die` anywhere in an exception group ends the job, or else a `Retry` runs it again; all other exceptions fail it.
    """
    try:
        return _judge(error)
    except BaseException:  # noqa: BLE001 - an exception of other people may raise anything when it is looked at
        return Failure(error=_told(type_name(error), "", error))


def stems_from_a_stop(error: BaseException) -> bool:
    """Return true if an exception comes from the cancellation of a run."""
    try:
        return any(isinstance(link, asyncio.CancelledError | JobCancelledError | Suspended) for link in _links(error))
    except BaseException:  # noqa: BLE001 - as above
        return False


def _judge(error: BaseException) -> Verdict:
    decisions = [leaf for leaf in _leaves(error) if isinstance(leaf, Die | Retry)]
    for decision in decisions:
        if isinstance(decision, Die):
            return Death(error=_told("die", told(decision.reason) or told(decision), error))
    retries = [decision for decision in decisions if isinstance(decision, Retry)]
    if not retries:
        kind = _kind(error)
        return Failure(error=_told(kind, told(error) or _meaning(error), error))
    try:
        # A subclass may set the attribute itself.
        delays = [seconds(retry.delay, "delay") for retry in retries]
    except (TypeError, ValueError) as wrong:
        return Failure(error=_told(type_name(wrong), f"Retry: {told(wrong)}", error))
    delay = max((delay for delay in delays if delay is not None), default=None)
    return RunAgain(delay=delay, error=_told("retry", told(retries[0].reason) or told(retries[0]), error))


def _kind(error: BaseException) -> str:
    if isinstance(error, StepError):
        return STEP
    return CHILD if isinstance(error, ChildFailedError) else type_name(error)


def _meaning(error: BaseException) -> str:
    """Return the meaning of an exception without a text."""
    if isinstance(error, JobCancelledError):
        return "the handler raised JobCancelledError, but the queue has not cancelled the job"
    if isinstance(error, asyncio.CancelledError):
        return "the handler or an operation that it awaited was cancelled, but not by the queue"
    return ""


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group and of its inner groups, in their order; or else the exception itself."""
    waiting = [error]
    while waiting:
        leaf = waiting.pop()
        if isinstance(leaf, BaseExceptionGroup):
            waiting += reversed(leaf.exceptions)
        else:
            yield leaf


def _links(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its causes, and the exceptions of groups among these."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LINKS:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__context__, link.__cause__]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions


def _told(kind: str, message: str, error: BaseException) -> JobError:
    return JobError(kind=kind, message=message or type_name(error), trace=_trace(error), step=_step(error))


def mark(error: BaseException, step: str) -> None:
    """Note in an exception the step that it came out of."""
    with contextlib.suppress(BaseException):
        object.__setattr__(error, _STEP_MARK, step)


def _step(error: BaseException) -> str | None:
    """Return the name of the step that an exception came out of."""
    try:
        marks = (object.__getattribute__(link, "__dict__").get(_STEP_MARK) for link in _links(error))
        return next((name for name in marks if isinstance(name, str)), None)
    except BaseException:  # noqa: BLE001 - as above
        return None


def _trace(error: BaseException) -> str | None:
    """Return the traceback from the handler's first frame on, without local values."""
    kept: TracebackType | None = None
    try:
        kept = error.__traceback__
        while kept is not None and kept.tb_frame.f_code.co_filename.startswith(_HERE):
            kept = kept.tb_next
        return cut_middle("".join(traceback.format_exception(type(error), error, kept)), LONGEST_TRACE)
    except BaseException:  # noqa: BLE001 - the exception may be odd; CPython 3.11 may fail while another thread formats
        return _frames(kept)


def _frames(trace: TracebackType | None) -> str | None:
    try:
        frames = traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)
        lines = [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n' for frame in frames]
        return cut_middle("".join(lines), LONGEST_TRACE) or None
    except BaseException:  # noqa: BLE001 - as above
        return None
