"""The starts of a job, as its history has them: runs between requeues, attempts, suspensions and late reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import parsed, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_LOOKS: Final = {
    "success": ("success", "success"),
    "fail": ("failed", "failed"),
    "die": ("killed", "killed itself"),
    "kill": ("killed", "killed"),
    "retry": ("delayed", "retried"),
    "hanging": ("failed", "lease ended"),
    "timeout": ("failed", "timed out"),
    "crash": ("failed", "worker died"),
    "release": ("pending", "given back"),
    "suspend": ("delayed", "suspended"),
    "requeue": ("accent", "requeued"),
}
"""State class and word of each outcome."""
_LONGEST_WHY: Final = 300


@dataclass(slots=True, kw_only=True)
class Start:
    """An entry of a history: a start of the job, or its requeue.

    Attributes:
        number: of the start, from 1; 0 for a requeue.
        run: the number of the run, which a requeue begins.
        attempt: the number of the attempt.
        is_resumed: True if it goes on after a suspension.
        outcome: as the API names it; empty while it goes on.
        worker: its name, and the version of its program.
        wait: seconds since the start before it ended.
    """

    number: int
    run: int
    attempt: int
    begin: datetime | None
    end: datetime | None
    outcome: str
    worker: str
    error: Mapping[str, Any] = field(default_factory=dict)
    code: int | None = None
    late: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[str] = ()
    forgot: Sequence[str] = ()
    is_resumed: bool = False
    wait: float | None = None

    @property
    def look(self) -> str:
        """The class of its state."""
        return _LOOKS.get(self.outcome, ("processing", ""))[0]

    @property
    def word(self) -> str:
        """Its outcome for people."""
        return _LOOKS.get(self.outcome, ("", "running" if self.number else self.outcome))[1]

    @property
    def seconds(self) -> float | None:
        """Its length; ``None`` while it goes on."""
        return (self.end - self.begin).total_seconds() if self.begin and self.end else None

    @property
    def why(self) -> str:
        """The reason of its end in one line."""
        parts = []
        if message := self.error.get("message"):
            parts.append(shorten(str(message), _LONGEST_WHY))
        if self.code is not None:
            parts.append(f"code {self.code}")
        if self.steps:
            parts.append(f"finished {shorten(', '.join(map(str, self.steps)))}")
        if self.forgot:
            parts.append(f"runs again: {shorten(', '.join(map(str, self.forgot)))}")
        if self.late:
            parts.append(f"late report, which changed nothing: {shorten(str(self.late.get('outcome', '')))}")
        return " · ".join(parts)

    def name(self, runs: int) -> str:
        """Return its name, such as ``Run 2, attempt 1``; the run only where there are several."""
        attempt = f"attempt {self.attempt}" if self.number else "requeued"
        return f"Run {self.run}, {attempt}" if runs > 1 else attempt.capitalize()


def starts(job: Mapping[str, Any]) -> list[Start]:
    """Return the starts and requeues of a job, oldest first."""
    found: list[Start] = []
    number, run, ended, before = 0, 1, None, ""
    for entry in job.get("history") or ():
        outcome = str(entry.get("outcome") or "")
        is_requeue = outcome == "requeue"
        number, run = number + (not is_requeue), run + is_requeue
        begin, end = parsed(entry.get("startAt")), parsed(entry.get("endAt"))
        found.append(
            Start(
                number=0 if is_requeue else number,
                run=run,
                attempt=int(entry.get("attempt") or 0),
                begin=begin,
                end=end,
                outcome=outcome,
                worker=" · ".join(str(entry[name]) for name in ("worker", "version") if entry.get(name)),
                error=entry.get("error") or {},
                code=entry.get("code"),
                late=entry.get("late") or {},
                steps=entry.get("steps") or (),
                forgot=entry.get("forgot") or (),
                is_resumed=before == "suspend",
                wait=(begin - ended).total_seconds() if begin and ended else None,
            )
        )
        ended, before = end, outcome
    return found


def runs_of(found: Sequence[Start]) -> int:
    """Return the number of runs."""
    return found[-1].run if found else 1
