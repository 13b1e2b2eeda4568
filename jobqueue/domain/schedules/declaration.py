"""Schedules that code declares, beside those of people."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.domain.schedules.schedule import Declared, Schedule

_DIGITS: Final = 16
_TIMES: Final = ("cron", "timezone", "every")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A schedule in the code of a worker.

    Attributes:
        schedule: the definition.
        by: the module of the decorated function.
    """

    schedule: Schedule
    by: str

    @property
    def name(self) -> str:
        """The name of the schedule."""
        return self.schedule.name

    @property
    def digest(self) -> str:
        """The identity of the definition, for workers with other code."""
        return digest(self.schedule)


def digest(schedule: Schedule) -> str:
    """Return the identity of a definition, whatever its name and its pause."""
    text = json.dumps({**schedule.wire(), "paused": False}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def application(module: str) -> str:
    """Return the application of a module: its package on top."""
    return module.partition(".")[0]


def edited(present: Schedule, declared: Declared) -> tuple[str, ...]:
    """Return the fields in which a schedule differs from the code, as a person left it."""
    if declared.schedule is None:
        return ()
    code, now = declared.schedule.wire(), present.wire()
    return tuple(name for name in (*_TIMES, "job", "missed") if not _same(code[name], now[name]))


def merged(present: Schedule, declared: Declared | None, code: Schedule) -> Schedule:
    """Return a schedule after a change of the code: only what no person has changed follows the code.

    The times, the job and ``missed`` follow each for itself; the pause belongs to people alone.

    Args:
        present: the stored schedule.
        declared: its last declaration; ``None`` if a person has made it.
        code: the definition in the code.
    """
    if declared is None or declared.schedule is None:
        return present
    kept = edited(present, declared)
    return replace(
        present,
        recurrence=present.recurrence if set(kept) & set(_TIMES) else code.recurrence,
        job=present.job if "job" in kept else code.job,
        missed=present.missed if "missed" in kept else code.missed,
    )


def _same(left: Any, right: Any) -> bool:
    # In Python 1 equals True; in the data of a job they differ.
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
