"""The leases that one process holds, shared by the threads that renew and watch them.

All times are readings of the monotonic clock of this host.
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
"""Renewals in one round trip, which take the server a fraction of the shortest useful lease."""
FIRST_SECONDS: Final = 1.0
"""Seconds that a lease is held at least, so that the first renewal can show whether the claim still holds."""
_LONGEST_INTERVAL: Final = 10.0
_BEATS_PER_LEASE: Final = 4
_TRIES_PER_LEASE: Final = 16
_RETRY_SECONDS: Final = 0.5
_UNSENT: Final = "its renewal was not sent in time"
_EARLIEST: Final = 0.75
"""Share of the interval after which a lease may be renewed; a random share from here on spreads the renewals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostClaim:
    """The loss of a claim.

    Attributes:
        reason: in words.
        known: the database has confirmed the loss. Otherwise it gave no answer in time, and the claim may still hold.
    """

    reason: str
    known: bool


@dataclass(slots=True, eq=False, kw_only=True)
class Lease:
    """The lease of one claim.

    Attributes:
        seconds: from a renewal to its end.
        on_lost: called once, from a thread, when the claim is lost.
        renewed_at: the sending of the last good renewal, or at first of the claim.
        next_at: the due time of the next renewal.
        until: the end of the lease without a further renewal.
        asked_at: the last request for a renewal out of turn.
        together: the number of leases that may share a round trip.
        trouble: the reason why the last renewal failed.
        step: the name of the step that is under way.
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
    step: str | None = None

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
        """The time from which it may join the renewal of others."""
        return self.next_at - self.interval * (1 - _EARLIEST)

    def renewed(self, sent_at: float) -> None:
        """Count the lease from the sending of its renewal."""
        if sent_at < self.renewed_at:
            return
        spread = self.interval * random.uniform(_EARLIEST, 1)  # noqa: S311 - no secret
        self.renewed_at = sent_at
        # A renewal sent before the request out of turn says nothing of the time since.
        self.next_at = self.asked_at if self.asked_at > sent_at else sent_at + spread
        self.until = sent_at + self.seconds
        self.together, self.trouble = MOST_TOGETHER, _UNSENT

    def refused(self, now: float, trouble: str, together: int) -> None:
        """Note that the renewal of a group was refused; a part of the group is tried next."""
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
        # The reply to a claim may come after a whole lease. Then the first renewal shows whether the claim holds.
        lease.until = max(lease.until, time.monotonic() + FIRST_SECONDS)
        with self.changed:
            self._leases[lease.token] = lease
            if min(lease.next_at, lease.until) < max(self._alarms.values(), default=-math.inf):
                self.changed.notify_all()

    def take(self, token: str) -> Lease | None:
        """Remove and return a lease; ``None`` if it is not held."""
        with self.changed:
            return self._leases.pop(token, None)

    def tell_step(self, token: str, step: str | None) -> None:
        """Note the name of the step that is under way."""
        lease = self._leases.get(token)
        if lease is not None:
            lease.step = step

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
        """Return the time at which the first lease ends."""
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
        """Count leases from the sending of their renewals."""
        with self.changed:
            for lease in leases:
                lease.renewed(sent_at)

    def refused(self, leases: Iterable[Lease], trouble: str, together: int) -> None:
        """Note that the renewals of a group of leases were refused."""
        now = time.monotonic()
        with self.changed:
            for lease in leases:
                lease.refused(now, trouble, together)

    def blame(self, trouble: str) -> None:
        """Note the reason why no lease can be renewed."""
        with self.changed:
            for lease in self._leases.values():
                lease.trouble = trouble

    def forgive(self) -> None:
        """Renew all leases in full groups again, at once: the database no longer refuses them."""
        now = time.monotonic()
        with self.changed:
            for lease in self._leases.values():
                if lease.together < MOST_TOGETHER:
                    lease.together, lease.next_at = MOST_TOGETHER, min(lease.next_at, now)

    def excuse(self, refused_since: float) -> None:
        """Count leases from now on, if no process has had a database for more than half of their time."""
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
    """Report the loss of a lease to its holder; a holder that raises does not stop the thread."""
    try:
        lease.on_lost(loss)
    except Exception:
        log.exception("lease loss not reported", job_id=lease.job_id, reason=loss.reason)
