"""The leases that one process holds, shared by the threads that renew and watch them.

All times are readings of the steady clock of this host.
"""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = get_logger(__name__)
MOST_TOGETHER: Final = 200
"""Renewals in one round trip: so many take the server a fraction of the shortest useful lease."""
FIRST_SECONDS: Final = 1.0
"""How long a lease that may have ended before it was held is held, so that its claim can be asked for."""
_LONGEST_INTERVAL: Final = 10.0
_BEATS_PER_LEASE: Final = 4
_TRIES_PER_LEASE: Final = 16
_RETRY_SECONDS: Final = 0.5
_UNSENT: Final = "its renewal was not sent in time"
_EARLIEST: Final = 0.75
"""Share of the interval after which a lease may be renewed: a random share from here on spreads the renewals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostClaim:
    """Why a claim is not held any more.

    Attributes:
        reason: in words.
        known: the database has said so. Otherwise it could not be asked in time, and the claim may be the current one.
    """

    reason: str
    known: bool


@dataclass(slots=True, eq=False, kw_only=True)
class Lease:
    """The lease of one claim.

    Attributes:
        job_id: of the claimed job.
        queue: of the job.
        token: of the claim.
        seconds: from a renewal to its end.
        on_lost: called once, from a thread, when the claim is lost.
        renewed_at: when its last good renewal, or at first its claim, was sent.
        next_at: when its next renewal is due.
        until: when it ends, unless it is renewed.
        asked_at: when a renewal was asked for out of turn.
        together: how many leases may share a round trip with it.
        trouble: why it was not renewed.
    """

    job_id: str
    queue: str
    token: str
    seconds: float
    on_lost: Callable[[LostClaim], None]
    renewed_at: float
    next_at: float = 0
    until: float = 0
    asked_at: float = -math.inf
    together: int = MOST_TOGETHER
    trouble: str = _UNSENT

    def __post_init__(self) -> None:
        self.renewed(self.renewed_at)

    @property
    def interval(self) -> float:
        """Seconds between two renewals, at most."""
        return min(self.seconds / _BEATS_PER_LEASE, _LONGEST_INTERVAL)

    @property
    def pause(self) -> float:
        """Seconds from a failed renewal to the next try."""
        return min(self.seconds / _TRIES_PER_LEASE, _RETRY_SECONDS)

    @property
    def early_at(self) -> float:
        """When it may be renewed with others that are due."""
        return self.next_at - self.interval * (1 - _EARLIEST)

    def renewed(self, sent_at: float) -> None:
        """Count the lease from the moment at which its renewal was sent."""
        if sent_at < self.renewed_at:
            return
        spread = self.interval * random.uniform(_EARLIEST, 1)  # noqa: S311 - no secret
        self.renewed_at = sent_at
        # A renewal that was on its way when it was asked for says nothing of what has happened since.
        self.next_at = self.asked_at if self.asked_at > sent_at else sent_at + spread
        self.until = sent_at + self.seconds
        self.together, self.trouble = MOST_TOGETHER, _UNSENT

    def refused(self, now: float, trouble: str, together: int) -> None:
        """Note that its renewal, together with some others, was refused; a part of them is tried next."""
        self.next_at = now + self.pause
        self.trouble = trouble
        self.together = max(1, together // 4)


class LeaseTable:
    """The leases by token. Readers of `leases` hold `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.stopping = False
        self._leases: dict[str, Lease] = {}
        self._alarms: dict[int, float] = {}

    def add(self, lease: Lease) -> None:
        """Hold a lease, and wake the threads that would sleep past it."""
        # The reply to a claim may come after a whole lease. Then the first renewal shows whose the job is.
        lease.until = max(lease.until, time.monotonic() + FIRST_SECONDS)
        with self.changed:
            self._leases[lease.token] = lease
            if min(lease.next_at, lease.until) < max(self._alarms.values(), default=-math.inf):
                self.changed.notify_all()

    def take(self, token: str) -> Lease | None:
        """Remove a lease; return it if it was held."""
        with self.changed:
            return self._leases.pop(token, None)

    def hasten(self, token: str) -> None:
        """Make the renewal of a lease due now."""
        with self.changed:
            if token in self._leases:
                self._leases[token].next_at = self._leases[token].asked_at = time.monotonic()
                self.changed.notify_all()

    def stop(self) -> None:
        """End the waiting of all threads."""
        with self.changed:
            self.stopping = True
            self.changed.notify_all()

    def leases(self) -> Iterable[Lease]:
        """Return the leases that are held."""
        return self._leases.values()

    def first_end(self) -> float:
        """Return when the first lease ends."""
        with self.changed:
            return min((lease.until for lease in self._leases.values()), default=math.inf)

    def sleep_until(self, alarm: float) -> None:
        """Wait, with `changed` held, until a moment or a change."""
        me = threading.get_ident()
        self._alarms[me] = alarm
        try:
            self.changed.wait(None if alarm == math.inf else max(0.0, alarm - time.monotonic()))
        finally:
            del self._alarms[me]

    def renewed(self, leases: Iterable[Lease], sent_at: float) -> None:
        """Count leases from the moment at which their renewals were sent."""
        with self.changed:
            for lease in leases:
                lease.renewed(sent_at)

    def refused(self, leases: Iterable[Lease], trouble: str, together: int) -> None:
        """Note leases whose renewals were refused together."""
        now = time.monotonic()
        with self.changed:
            for lease in leases:
                lease.refused(now, trouble, together)

    def blame(self, trouble: str) -> None:
        """Note why no lease at all can be renewed."""
        with self.changed:
            for lease in self._leases.values():
                lease.trouble = trouble

    def forgive(self) -> None:
        """Renew all leases in groups again, at once: the reason why renewals were refused is gone."""
        now = time.monotonic()
        with self.changed:
            for lease in self._leases.values():
                if lease.together < MOST_TOGETHER:
                    lease.together, lease.next_at = MOST_TOGETHER, min(lease.next_at, now)

    def excuse(self, refused_since: float) -> None:
        """Count leases from now on, as for more than half of their time nobody has had a database."""
        now = time.monotonic()
        with self.changed:
            for lease in self._leases.values():
                if refused_since >= lease.renewed_at and now - refused_since > lease.seconds / 2:
                    lease.until = now + lease.seconds

    def ended(self) -> list[Lease]:
        """Remove and return the leases that have ended."""
        now = time.monotonic()
        with self.changed:
            ended = [lease for lease in self._leases.values() if now >= lease.until]
            for lease in ended:
                del self._leases[lease.token]
        return ended


def report(lease: Lease, loss: LostClaim) -> None:
    """Tell the holder of a lease that it is lost; a holder that raises harms nobody else."""
    try:
        lease.on_lost(loss)
    except Exception:
        log.exception("loss of a lease could not be reported", job_id=lease.job_id, reason=loss.reason)
