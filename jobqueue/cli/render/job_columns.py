"""Columns of tables of jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.render import moments, tables
from jobqueue.cli.render.job_text import error_text
from jobqueue.cli.render.tables import Column
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.cli.render.tables import View

PREFIXES: Final = ("meta.", "data.")
"""Beginnings of paths of fields that can be columns."""


def print_jobs(jobs: Sequence[Mapping[str, Any]], view: View, now: datetime, *, empty: str = "no jobs match") -> None:
    """Print a table of jobs as they are at this time."""
    tables.print_rows(jobs, view, now=now, empty=empty)


def about(job: Mapping[str, Any], now: datetime) -> str:
    """Return why a job is as it is: its worker and step, its wait, or its error."""
    texts = [_state(job, now)]
    if job["error"] is not None and job["state"] != State.SUCCESS:
        texts.append(error_text(job["error"]))
    return " ".join(text for text in texts if text)


def running(job: Mapping[str, Any], now: datetime) -> str:
    """Return for how long a job has been running."""
    return moments.ago(job["startAt"], now) if job["state"] == State.PROCESSING else ""


def _state(job: Mapping[str, Any], now: datetime) -> str:
    wait = job.get("wait") or {}
    if job["state"] == State.PROCESSING:
        return _runs(job, now)
    if wait.get("signals"):
        return f"waits for the signal {', '.join(wait['signals'])}"
    if wait.get("doubt") is not None:
        return f"in doubt: did {wait['doubt']} happen?"
    if job["state"] == State.DELAYED and job["delayTil"] is not None:
        return f"due in {moments.ahead(job['delayTil'], now)}"
    return ""


def _runs(job: Mapping[str, Any], now: datetime) -> str:
    claim = job["claim"] or {}
    parts = [
        f"for {running(job, now)}" if job["startAt"] else "",
        f"on {claim['worker']}" if claim.get("worker") else "",
        f"step {claim['step']}" if claim.get("step") else "",
        f"{job['progress']:.0f} %" if job["progress"] else "",
    ]
    return ", ".join(part for part in parts if part)


def of_field(path: str) -> Column:
    """Return the column of a field of jobs, whose documents may have only some fields."""
    name = path.rpartition(".")[2]
    if name in _WORDY:
        return tables.field(path, answers=True)
    return tables.field(path, is_id=name in _IDS, least=None if name in _IDS or name.endswith(("At", "Til")) else 8)


_IDS: Final = frozenset({"id", "batchId", "parentId"})
_WORDY: Final = frozenset({"message", "error", "worker"})
_USUAL: Final = (
    tables.field("id", is_id=True),
    tables.field("state"),
    tables.field("queue", least=8, rank=2),
    tables.field("type", least=12),
    Column(name="attempts", cell=lambda job, _: f"{job['attemptsMade']}/{job['attempts']}", rank=3),
    Column(name="age", cell=lambda job, now: moments.ago(job["insertAt"], now), is_number=True),
    Column(name="about", cell=about, answers=True),
    tables.field("worker", "claim.worker", hidden=True, answers=True),
    tables.field("step", "claim.step", hidden=True),
    Column(name="running", cell=running, hidden=True, is_number=True),
    tables.field("priority", hidden=True, is_number=True),
    tables.field("key", hidden=True, least=8),
    Column(name="error", cell=lambda job, _: error_text(job["error"]), extra=True, answers=True),
)
_KNOWN: Final = frozenset(column.name for column in _USUAL)
COLUMNS: Final = (
    *_USUAL,
    *(replace(of_field(name), extra=True) for _, name in json_form.NAMES[Job] if name not in _KNOWN),
)
"""The usual columns, and all fields of jobs for ``--columns``."""
BRIEF: Final = tables.plain_view(*(column for column in _USUAL if column.name in {"id", "state", "queue", "type"}))
"""Columns that lists of ids have, too."""
