"""Steps of a job as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.step import Step

HEADINGS: Final = ("NAME", "KIND", "STATE", "ATTEMPT", "TRIES", "START", "DURATION", "SIZE")
_UNIT: Final = 1024


def state(step: Step) -> str:
    """Return the state of a step: ``finished``, ``failed``, or ``waits``."""
    if step.is_finished:
        return "finished"
    return "waits" if step.error is None else "failed"


def row(step: Step) -> list[str]:
    """Return the cells of a step under `HEADINGS`."""
    duration = ""
    if step.start_at and step.end_at:
        duration = f"{(step.end_at - step.start_at).total_seconds():.3f} s"
    return [
        step.name,
        step.kind.value,
        state(step),
        str(step.attempt),
        str(step.tries),
        json_form.date(step.start_at) if step.start_at else "",
        duration,
        _size(step.size) if step.size else "",
    ]


def line(step: Step) -> str:
    """Return a step on one line."""
    name, kind, how, *_, duration, size = row(step)
    parts = [name, *([kind] if kind != "step" else []), how, duration, size]
    if step.error is not None:
        parts.append(f"{step.error.kind}: {step.error.message}")
    if not step.is_finished and step.until is not None:
        parts.append(f"until {json_form.date(step.until)}")
    return "  ".join(part for part in parts if part)


def wait(job: Job) -> str:
    """Return the reason why a suspended job waits."""
    if job.wait is None:
        return ""
    until = f"until {json_form.date(job.wait.until)}" if job.wait.until else "for now"
    names = ", ".join(job.wait.names)
    return f"suspended {until}{', by ' if names else ''}{names}"


def _size(count: int) -> str:
    """Return a number of bytes."""
    if count < _UNIT:
        return f"{count} B"
    return f"{count / _UNIT:.1f} KiB" if count < _UNIT * _UNIT else f"{count / _UNIT / _UNIT:.1f} MiB"
