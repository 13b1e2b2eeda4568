"""A claim: its search, its permit, and what stands in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobqueue.store.mongo.clock import steady

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHorizon:
    """For how long a configuration decides claims.

    Attributes:
        at: the end, by the server's clock: no job is claimed later.
        asked_at: when the configuration was asked for, by the steady clock of this host.
        seconds: until the end, counted from the server's time of the reading.
    """

    at: datetime
    asked_at: float
    seconds: float

    def age(self) -> float:
        """Return how many seconds ago the configuration was asked for."""
        return steady() - self.asked_at

    def may_be_over(self) -> bool:
        """Tell whether the end may have come: less time has passed at the server than here."""
        return self.age() > self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSearch:
    """Which job to claim, and for whom.

    Attributes:
        queue: the queue's name.
        types: only these; ``None`` for any.
        token: a fresh fencing token, made by the caller so that it can be looked up if the reply is lost.
        worker: who claims.
        lease: seconds, instead of the job's own.
        excluded: not these types, when any is taken.
        margin: as in `statements.claim`.
        suspects: also a job that has to run alone.
        until: for how long the configuration holds by which the job is claimed.
    """

    queue: str
    types: tuple[str, ...] | None
    token: str
    worker: str
    lease: float | None = None
    excluded: tuple[str, ...] = ()
    margin: float = 0
    suspects: bool = True
    until: ClaimHorizon | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPermit:
    """What a limited queue lets a claim do.

    Attributes:
        slots: the places it takes; each belongs to one running job at most.
        deadline: claim nothing when it is later than this by the server's clock.
        key: only jobs of this group.
    """

    slots: tuple[str, ...] = ()
    deadline: datetime | None = None
    key: str | None = None


class SlotTakenError(Exception):
    """Tell the limiter that a running job has the slot already."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        super().__init__(slot)


class LateClaimError(Exception):
    """Tell that a claim has found nothing, perhaps only because its configuration was too old by then."""
