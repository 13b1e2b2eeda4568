"""Happenings of a replay, told as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from jobqueue.domain.errors import JobQueueError

TAKEN: Final = "taken"
BEGUN: Final = "begun"
RAN: Final = "ran"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
WAITS: Final = "waits"
ADDED: Final = "added"
LOG: Final = "log"
PROGRESS: Final = "progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that a run does.

    Attributes:
        kind: ``taken`` from the bundle, ``begun``, ``ran`` or ``failed`` here, ``skipped``, ``waits``, ``added`` for a
            job that is not added, ``log`` or ``progress``.
        name: of the step, or the level of a log line.
        text: for people.
        seconds: that a step ran.
        value: that was taken, or the result of a step.
    """

    kind: str
    name: str = ""
    text: str = ""
    seconds: float | None = None
    value: Any = None


Listener = Callable[[Happening], None]


class NotReplayableError(JobQueueError):
    """Report that a run needs what neither the bundle nor this process has."""

    slug = "not-replayable"


class Obstacles:
    """Keeps the reason why a run cannot go on, also if its handler catches the exception."""

    def __init__(self) -> None:
        self.first: str | None = None

    def met(self, reason: str) -> NotReplayableError:
        """Note a reason, and return the exception that ends the handler."""
        self.first = self.first or reason
        return NotReplayableError(reason)
