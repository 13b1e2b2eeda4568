"""The jobs of a lane that may wait: the number of claims that are worth a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_SHORTEST_PATIENCE: Final = 0.01
_LONGEST_PATIENCE: Final = 0.1


@dataclass(slots=True)
class Demand:
    """The number of jobs of a lane that may wait, which is the number of claims that are worth a request.

    Attributes:
        taken: claims under way and jobs running.
        held_until: the time of the next claim while a limit holds jobs back, by the loop's clock.
        patience: seconds for which processes with the same wake-up may go first.
    """

    known: float = math.inf
    heard: int = 0
    taken: int = 0
    held_until: float = 0
    patience: float = _SHORTEST_PATIENCE

    def wants(self, limit: int | None, now: float) -> bool:
        """Return True if a claim is worth a request."""
        return self.known >= 1 and (limit is None or self.taken < limit) and self.held_until <= now

    def wake(self, count: float, ask_at: float = 0) -> None:
        """Note that more jobs may wait."""
        self.known += count
        self.heard += 1
        self.ask(ask_at)

    def ask(self, at: float) -> None:
        """Ask at this time at the latest."""
        self.held_until = min(self.held_until, at)

    def hold(self, until: float, heard_before: int) -> None:
        """Wait until a limit lets a job start, unless something was heard meanwhile."""
        self.patience = min(self.patience * 2, _LONGEST_PATIENCE)
        if self.heard == heard_before:
            self.held_until = until

    def found_one(self) -> None:
        """Note that a claim has got a job."""
        self.patience = _SHORTEST_PATIENCE
        self.known = max(0, self.known - 1)

    def found_nothing(self, heard_before: int) -> None:
        """Note that no job waits, unless something was heard meanwhile."""
        if self.heard == heard_before:
            self.known = 0
