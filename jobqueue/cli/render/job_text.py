"""Print a job as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.cli.render import step_text
from jobqueue.cli.render.output import compact, plain, print_line
from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobqueue.domain.jobs.attempt import Attempt, JobError, LogLine
    from jobqueue.domain.jobs.job import Job


def print_job(job: Job, lines: Sequence[LogLine]) -> None:
    """Print a job, its history and its log."""
    rows = [(name, text) for name, text in _rows(job) if text]
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print_line(f"{name:<{width}}  {plain(text)}")
    if job.steps:
        print_line()
        print_line("steps")
        for step in job.steps:
            print_line(f"  {plain(step_text.line(step))}")
    if job.history:
        print_line()
        print_line("history")
        for attempt in job.history:
            print_line(f"  {plain(_attempt(attempt))}")
            _print_trace(attempt.error)
    elif job.error is not None:
        _print_trace(job.error)
    if lines:
        print_line()
        print_line("log")
        for line in lines:
            print_log(line)


def print_log(line: LogLine) -> None:
    """Print a line that a job logged."""
    level = f"{line.level} " if line.level else ""
    print_line(f"  {json_form.date(line.t)} {plain(level + line.m)}")


def print_state(job: Job) -> None:
    """Print the state of a job."""
    print_line(f"state {job.state.value}{plain(f' ({_error(job.error)})') if job.error else ''}")


def _rows(job: Job) -> Iterator[tuple[str, str]]:
    yield "id", job.id
    yield "type", job.type
    yield "queue", job.queue
    yield "state", job.state.value
    yield "attempts", f"{job.attempts_made} of {job.attempts}"
    yield "crashes", f"{job.crashes}{', runs alone' if job.is_suspect else ''}" if job.crashes else ""
    yield "progress", f"{job.progress:g} %" if job.progress else ""
    yield "priority", str(job.priority)
    for name, moment in (
        ("created", job.insert_at),
        ("started", job.start_at),
        ("ended", job.end_at),
        ("due", job.delay_til),
        ("lease until", job.reset_at),
    ):
        yield name, json_form.date(moment) if moment else ""
    yield "waits", step_text.wait(job)
    yield "worker", job.claim.worker if job.claim else ""
    yield "step", job.claim.step or "" if job.claim else ""
    yield "key", job.key or ""
    yield "parent", job.parent_id or ""
    yield (
        "schedule",
        f"{job.schedule} at {json_form.date(job.scheduled_at)}" if job.schedule and job.scheduled_at else "",
    )
    yield "batch", job.batch_id or ""
    yield "depends on", ", ".join(job.depends_on)
    yield "backoff", compact(job.backoff.wire())
    yield "lease", f"{job.lease:g} s"
    yield "timeout", f"{job.timeout:g} s" if job.timeout is not None else ""
    shown = json_form.job(job)
    for name in ("data", "meta"):
        yield name, compact(shown[name]) if shown[name] else ""
    for name in ("onComplete", "onSuccess", "onFailure", "result"):
        yield name, compact(shown[name]) if shown.get(name) is not None else ""
    yield "error", _error(job.error)


def _attempt(attempt: Attempt) -> str:
    moment = attempt.start_at or attempt.end_at
    parts = [f"#{attempt.attempt}", json_form.date(moment) if moment else "-"]
    if attempt.start_at and attempt.end_at:
        parts.append(f"{(attempt.end_at - attempt.start_at).total_seconds():.3f} s")
    parts.append(attempt.outcome.value if attempt.outcome else "running")
    if attempt.code is not None:
        parts.append(f"code {attempt.code}")
    if attempt.worker:
        parts.append(f"on {attempt.worker}")
    if attempt.error is not None:
        parts.append(_error(attempt.error))
    if attempt.steps:
        parts.append(f"steps {', '.join(attempt.steps)}")
    if attempt.forgot:
        parts.append(f"forgot {', '.join(attempt.forgot)}")
    if attempt.was:
        parts.append(f"was {compact(json_form.value(dict(attempt.was)))}")
    if attempt.late:
        parts.append(f"reported too late: {compact(json_form.value(dict(attempt.late)))}")
    return "  ".join(parts)


def _error(error: JobError | None) -> str:
    return f"{error.kind}: {error.message}" if error else ""


def _print_trace(error: JobError | None) -> None:
    for line in (error.trace or "").splitlines() if error else ():
        print_line(f"      {plain(line)}")
