"""A claim: its search, its permit, and the errors that stop it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from jobqueue.store.mongo.clock import steady

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimHorizon:
    """The end of the time for which a configuration decides claims.

    Attributes:
        at: the end, by the server's clock: a claim takes no job later.
        asked_at: the question for the configuration, by the steady clock of this host.
        seconds: from the server's time of the reading to the end.
    """

    at: datetime
    asked_at: float
    seconds: float

    def age(self) -> float:
        """Return the seconds since the question for the configuration."""
        return steady() - self.asked_at

    def may_be_over(self) -> bool:
        """Return True if the end may have come: less time has passed at the server than here."""
        return self.age() > self.seconds


class ClaimOptions(TypedDict, total=False):
    """The options of a claim, as in `ClaimSearch`."""

    lease: float | None
    excluded: tuple[str, ...]
    margin: float
    version: str | None
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSearch:
    """The search of a claim, and its worker.

    Attributes:
        types: the types of the job; ``None`` for any.
        token: a fresh fencing token of the caller, who can look it up if the reply is lost.
        lease: seconds, instead of the job's own.
        excluded: types that ``None`` leaves out.
        margin: as in `statements.claim`.
        version: of the worker's program.
        suspects: take a job that has to run alone, too.
        until: the horizon of the configuration behind the claim.
        key: of the worker's request; ``None`` if a repetition of the request claims another job.
    """

    queue: str
    types: tuple[str, ...] | None
    token: str
    worker: str
    lease: float | None = None
    excluded: tuple[str, ...] = ()
    margin: float = 0
    version: str | None = None
    suspects: bool = True
    until: ClaimHorizon | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimPermit:
    """The permission of a limited queue for a claim.

    Attributes:
        slots: the slots that the job takes; each belongs to one running job at most.
        deadline: the latest time of the claim by the server's clock.
        key: the key of the only group to claim from.
    """

    slots: tuple[str, ...] = ()
    deadline: datetime | None = None
    key: str | None = None


class SlotTakenError(Exception):
    """A running job has the slot of a claim already."""

    def __init__(self, slot: str) -> None:
        self.slot = slot
        super().__init__(slot)


class RepeatedClaimError(Exception):
    """The same request of the worker has claimed a job already, which is still running."""


class LateClaimError(Exception):
    """A claim has found nothing, perhaps only because its configuration was too old."""
