"""Print a job, as the HTTP API returns it, as text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.render import moments, step_text
from jobqueue.cli.render.output import compact, plain, print_line, print_wrapped
from jobqueue.domain.attempts.crash import SUSPECT_FROM
from jobqueue.domain.attempts.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Document = Mapping[str, Any]

_MOMENTS: Final = (
    ("created", "insertAt"),
    ("started", "startAt"),
    ("ended", "endAt"),
    ("due", "delayTil"),
    ("expires", "startBefore"),
    ("lease until", "resetAt"),
)


def print_job(job: Document, lines: Sequence[Document]) -> None:
    """Print a job, its history and its log."""
    rows = [(name, text) for name, text in _rows(job) if text]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print_wrapped(f"{name:<{width}}  {plain(text)}", indent=width + 2)
    if job.get("steps"):
        print_line()
        print_line("steps")
        for step in job["steps"]:
            print_wrapped(f"  {plain(step_text.line(step))}", indent=4)
    if job["history"]:
        print_line()
        print_line("history")
        for attempt in job["history"]:
            print_wrapped(f"  {plain(_attempt(attempt))}", indent=4)
            _print_trace(attempt["error"])
    elif job["error"] is not None:
        _print_trace(job["error"])
    if lines:
        print_line()
        print_line("log")
        for line in lines:
            print_log(line)


def print_log(line: Document) -> None:
    """Print a line that a job logged."""
    level = f"{line['level']} " if line.get("level") else ""
    print_line(f"  {line['t']} {plain(level + line['m'])}")


def log_text(line: Document) -> str:
    """Return a line of a log: time, number of the attempt, level and text."""
    attempt = "" if line.get("attempt") is None else f" #{line['attempt']}"
    level = "" if line.get("level") is None else f" {line['level']}"
    return f"{line['t']}{attempt}{level} {line['m']}"


def print_state(job: Document) -> None:
    """Print the state of a job."""
    why = f" ({error_text(job['error'])})" if job["error"] else ""
    print_line(f"state {job['state']}{plain(why)}")


def error_text(error: Document | None) -> str:
    """Return the kind and the message of an error."""
    return f"{error['kind']}: {error['message']}" if error else ""


def _rows(job: Document) -> Iterator[tuple[str, str]]:
    for name in ("id", "type", "queue", "state"):
        yield name, job[name]
    yield "attempts", f"{job['attemptsMade']} of {job['attempts']}"
    crashes = job.get("crashes") or 0
    yield "crashes", f"{crashes}{', runs alone' if crashes >= SUSPECT_FROM else ''}" if crashes else ""
    yield "progress", f"{job['progress']:g} %" if job["progress"] else ""
    yield "priority", str(job["priority"])
    for name, field in _MOMENTS:
        yield name, job.get(field) or ""
    if job.get("erased"):
        yield "erased", f"{job['erased']['at']} by operation {job['erased']['operation']}"
    running = job["state"] == State.PROCESSING and job["startAt"]
    yield "running", f"for {moments.ago(job['startAt'], datetime.now(UTC))}" if running else ""
    yield "waits", step_text.wait(job.get("wait"))
    claim = job["claim"] or {}
    yield "worker", claim.get("worker", "")
    yield "step", claim.get("step") or ""
    yield "key", job["key"] or ""
    yield "parent", job["parentId"] or ""
    yield "schedule", f"{job['schedule']} at {job['scheduledAt']}" if job.get("scheduledAt") else ""
    yield "batch", job["batchId"] or ""
    yield "depends on", ", ".join(job["dependsOn"])
    yield "backoff", compact(job["backoff"])
    yield "lease", f"{job['lease']:g} s"
    yield "timeout", f"{job['timeout']:g} s" if job["timeout"] is not None else ""
    for name in ("data", "meta"):
        yield name, compact(job[name]) if job[name] else ""
    for name in ("onComplete", "onSuccess", "onFailure", "result"):
        yield name, compact(job[name]) if job.get(name) is not None else ""
    yield "error", error_text(job["error"])


def _attempt(attempt: Document) -> str:
    start, end = attempt["startAt"], attempt["endAt"]
    parts = [f"#{attempt['attempt']}", start or end or "-"]
    if start and end:
        parts.append(f"{moments.span(start, end):.3f} s")
    parts.append(attempt["outcome"] or "running")
    if attempt["code"] is not None:
        parts.append(f"code {attempt['code']}")
    if attempt["worker"]:
        parts.append(f"on {attempt['worker']}")
    if attempt["error"] is not None:
        parts.append(error_text(attempt["error"]))
    parts += [f"{name} {', '.join(attempt[name])}" for name in ("steps", "forgot") if attempt.get(name)]
    if attempt.get("was"):
        parts.append(f"was {compact(attempt['was'])}")
    if attempt.get("late"):
        parts.append(f"reported too late: {compact(attempt['late'])}")
    return "  ".join(parts)


def _print_trace(error: Document | None) -> None:
    for line in (error.get("trace") or "").splitlines() if error else ():
        print_line(f"      {plain(line)}")
