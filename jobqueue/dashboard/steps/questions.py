"""Jobs that wait for people, in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.jobs.acts.answer import signal_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_MOST_VALUES: Final = 4
_LONGEST: Final = 40
_MOST_TYPES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionText:
    """A job that waits for an answer.

    Attributes:
        names: of the signals that it waits for, or of the step in doubt.
        since: when it asked.
        until: when it stops waiting, if ever.
        values: a few of its data and meta, so that one knows what it is about.
        asked: the same names in full.
        fields: of a form that answers it.
        key: of this form.
    """

    job: Mapping[str, Any]
    names: Sequence[str]
    asked: Sequence[str]
    fields: Mapping[str, str]
    key: str
    since: str
    until: str | None
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldText:
    """A failed job, and the jobs that wait until it has succeeded after all."""

    job: Mapping[str, Any]
    count: int
    types: str


def question(job: Mapping[str, Any]) -> QuestionText:
    """Return a job that waits for a signal for people."""
    wait = job.get("wait") or {}
    return _text(job, wait.get("signals") or wait.get("names") or [])


def doubt(job: Mapping[str, Any]) -> QuestionText:
    """Return a job with a step in doubt for people."""
    return _text(job, [(job.get("wait") or {}).get("doubt") or ""])


def held_rows(culprits: Iterable[Mapping[str, Any]], held: Sequence[Mapping[str, Any]]) -> list[HeldText]:
    """Return failed jobs with the jobs that they hold up."""
    rows = []
    for culprit in culprits:
        waiting = [job for job in held if culprit["id"] in job["dependsOn"]]
        types = list(dict.fromkeys(shorten(job["type"], _LONGEST) for job in waiting))
        more = " and others" if len(types) > _MOST_TYPES else ""
        rows.append(HeldText(job=culprit, count=len(waiting), types=", ".join(types[:_MOST_TYPES]) + more))
    return rows


def _text(job: Mapping[str, Any], names: Sequence[str]) -> QuestionText:
    wait = job.get("wait") or {}
    asking = {*names, *(wait.get("names") or ())}
    begun = [step["startAt"] for step in job.get("steps") or () if step.get("name") in asking and step.get("startAt")]
    return QuestionText(
        job=job,
        names=[shorten(name, _LONGEST) for name in names],
        asked=names,
        fields=signal_fields(job),
        key=f"{job['id']} {begun[-1] if begun else ''}",
        since=begun[-1] if begun else job["insertAt"],
        until=wait.get("until"),
        values=_values(job),
    )


def _values(job: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for part in (job.get("data"), job.get("meta")):
        for name, value in (part or {}).items():
            if isinstance(value, str | int | float) and len(found) < _MOST_VALUES:
                text = value if isinstance(value, str) else json.dumps(value)
                found.append((shorten(name, _LONGEST), shorten(text, _LONGEST)))
    return found
