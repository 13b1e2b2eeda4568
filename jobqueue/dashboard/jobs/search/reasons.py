"""A job's state in a line: the error, the reason why it waits, or what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import count, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A line about a job: a text, perhaps with a time after it and more text after that.

    Attributes:
        progress: in percent, of a running job.
        is_dim: the line says nothing that needs somebody.
    """

    text: str = ""
    time: str | None = None
    more: str = ""
    progress: float | None = None
    is_dim: bool = False


def reason(job: Mapping[str, Any], of_queues: Mapping[str, list[dict[str, Any]]]) -> Reason:
    """Return the line about a job.

    Args:
        job: as the API lists it.
        of_queues: the reasons why no job of a queue starts, by queue.
    """
    match job["state"]:
        case "processing":
            return _running(job)
        case "delayed":
            return _delayed(job)
        case "pending":
            return _pending(job, of_queues.get(job["queue"], []))
        case "failed" | "killed":
            return Reason(text=_error(job))
    return Reason(is_dim=True)


def _running(job: Mapping[str, Any]) -> Reason:
    claim, progress = job.get("claim") or {}, job.get("progress") or 0
    parts = [f"{progress:.0f} %"] if progress else []
    parts += [f"step {claim['step']}"] if claim.get("step") else []
    worker = claim.get("worker")
    text = ", ".join(parts) or (f"on {worker}" if worker else "")
    return Reason(text=_short(text), progress=progress or None, is_dim=not parts)


def plain(line: Reason) -> str:
    """Return a line without its time, which is not a text."""
    return line.text + line.more


def _delayed(job: Mapping[str, Any]) -> Reason:
    wait, due, error = job.get("wait") or {}, job.get("delayTil"), _error(job)
    if wait:
        return _suspended(wait, due)
    if due is None:
        return Reason(text=f"waits for {count(len(job.get('dependsOn') or ()), 'other job')}")
    if error:
        return Reason(text="next attempt", time=due, more=f": {error}")
    return Reason(text="due", time=due, is_dim=True)


def _suspended(wait: Mapping[str, Any], due: str | None) -> Reason:
    if wait.get("doubt"):
        return Reason(text=_short(f"in doubt: did {wait['doubt']} happen?"))
    if wait.get("signals"):
        names = " or ".join(f"“{name}”" for name in wait["signals"])
        return Reason(text=_short(f"waits for the signal {names}") + (", until" if due else ""), time=due)
    if wait.get("jobs"):
        return Reason(text=f"waits for {count(wait['jobs'], 'child', 'children')}")
    return Reason(text=_short(f"sleeps in {', '.join(wait.get('names') or ()) or 'a step'}, until"), time=due)


def _pending(job: Mapping[str, Any], reasons: list[dict[str, Any]]) -> Reason:
    for why in reasons:
        if job["type"] in why.get("types", [job["type"]]) and (line := _stop(job, why)) is not None:
            return line
    error = _error(job)
    return Reason(text=f"starts again: {error}") if error else Reason(text="starts in its turn", is_dim=True)


def _stop(job: Mapping[str, Any], why: Mapping[str, Any]) -> Reason | None:
    """Return a line about what stops a queue; ``None`` for what concerns only some of its jobs."""
    # With a limit by a value of data or meta, the message names the value, which another job may not have.
    is_of_all = " for " not in why["message"]
    line: Reason | None = None
    match why["kind"]:
        case "paused":
            line = Reason(text=f"queue {job['queue']} is paused")
        case "no-worker" if "server" in why["message"]:
            line = Reason(text=why["message"])
        case "no-worker":
            line = Reason(text=_short(f"no worker handles {job['type']} in queue {job['queue']}"))
        case "breaker":
            text = (
                f"breaker open after {count(why['failures'], 'failure')} in a row"
                if "failures" in why
                else "breaker open"
            )
            line = Reason(text=f"{text}, until" if why.get("until") else text, time=why.get("until"))
        case "concurrency" if is_of_all:
            line = Reason(text=_short(why["message"]), is_dim=True)
        case "rate" if is_of_all:
            line = Reason(text="the rate lets the next job start", time=why.get("nextStartAt"), is_dim=True)
    return line


def _error(job: Mapping[str, Any]) -> str:
    error = job.get("error") or {}
    kind, message = error.get("kind") or "", error.get("message") or ""
    return _short(f"{kind}: {message}" if kind and not message.startswith(kind) else message)


def _short(text: str) -> str:
    return shorten(text, _LONGEST)
