"""The thread that renews leases in groups, soonest end first."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.journal import get_logger
from jobqueue.store.mongo.database import brief, translated
from jobqueue.store.mongo.driver import timeout
from jobqueue.store.work.lease_table import LostClaim, report
from jobqueue.store.work.renewals import CALL_SECONDS, RenewalConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.store.work.lease_table import Lease, LeaseTable
    from jobqueue.store.work.renewals import RenewalReply

log = get_logger(__name__)
_SHORTEST_CALL: Final = 1.0
_SHORTEST_RETRY: Final = 0.05
_STUCK_SECONDS: Final = 5.0
"""Seconds beyond the time limit of a call after which the thread counts as hanging."""
_OPEN_SECONDS: Final = 30.0
"""The time limit for a connection, as names of hosts may have to be looked up."""
_REFUSALS: Final = 8
"""Refusals in a row after which the database counts as failing."""


class Renewer:
    """A thread that renews the leases of a table until it is dismissed or the table stops.

    Args:
        table: the leases.
        url: of MongoDB.
        name: of the database.
        turn: called before each group.
    """

    def __init__(self, table: LeaseTable, url: str, name: str, turn: Callable[[], None]) -> None:
        self._table = table
        self._url, self._name = url, name
        self._turn = turn
        self._link: RenewalConnection | None = None
        self._failed_at = -math.inf
        self._refusals = 0
        self._busy_until = math.inf
        self._dismissed = False
        self.thread = threading.Thread(target=self._run, name="leases", daemon=True)

    @property
    def is_failing(self) -> bool:
        """True if the last renewal got no answer."""
        return self._failed_at != -math.inf

    @property
    def is_well(self) -> bool:
        """True if the thread lives and does not hang in a call."""
        return self.thread.is_alive() and time.monotonic() < self._busy_until

    def dismiss(self) -> None:
        """End the thread when its call returns."""
        with self._table.changed:
            self._dismissed = True
            self._table.changed.notify_all()

    def _run(self) -> None:
        try:
            self._guarded(self._prepare)
            while (group := self._next()) is not None:
                self._turn()
                self._guarded(lambda group=group: self._renew(group))  # type: ignore[misc]
        finally:
            if self._link is not None:
                self._link.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run some work; an error of any kind is a failure, and the next turn tries again."""
        try:
            work()
        except Exception as error:
            log.exception("heartbeats failed")
            self._table.blame(brief(error))
            self._failed_at = time.monotonic()
        finally:
            self._busy_until = math.inf

    def _prepare(self) -> None:
        try:
            with timeout(self._patience()):
                self._open().ping()
        except Exception as error:  # noqa: BLE001 - the first renewal tries again, and logs its error
            log.warning("heartbeats delayed", error=brief(error))

    def _open(self) -> RenewalConnection:
        if self._link is None:
            self._busy_until = time.monotonic() + _OPEN_SECONDS
            self._link = RenewalConnection(self._url, self._name)
        self._busy_until = time.monotonic() + CALL_SECONDS + _STUCK_SECONDS
        return self._link

    def _next(self) -> list[Lease] | None:
        """Wait for a lease that is due; return it with the leases that may share its round trip."""
        table = self._table
        with table.changed:
            while not (table.stopping or self._dismissed):
                now = time.monotonic()
                due = [lease for lease in table.leases() if self._due_at(lease) <= now]
                if due:
                    return self._group(min(due, key=lambda lease: lease.until), now)
                table.sleep_until(min(map(self._due_at, table.leases()), default=math.inf))
            return None

    def _group(self, first: Lease, now: float) -> list[Lease]:
        rest = [lease for lease in self._table.leases() if lease is not first]
        mates = [lease for lease in rest if lease.together == first.together and lease.early_at <= now]
        return [first, *sorted(mates, key=lambda lease: lease.until)[: first.together - 1]]

    def _due_at(self, lease: Lease) -> float:
        if not self.is_failing:
            return lease.next_at
        again = max(lease.next_at, self._failed_at + lease.pause)
        # A look shortly before the end may find that no process has a database.
        return max(self._failed_at + _SHORTEST_RETRY, min(again, lease.until - _SHORTEST_RETRY))

    def _renew(self, group: list[Lease]) -> None:
        """Renew leases, unless all members refuse connections."""
        try:
            link = self._open()
        except Exception as error:  # noqa: BLE001 - the hosts of the URL may be unknown for a while
            log.warning("heartbeat failed", job_id=group[0].job_id, jobs=len(group), error=brief(error))
            self._fail("MongoDB could not be reached")
            return
        try:
            if self.is_failing and link.outage.look() is not None:
                self._fail("MongoDB could not be reached")
                return
            sent_at = time.monotonic()
            with translated(), timeout(self._patience()):
                renewal = link.renew(group)
        except DatabaseUnavailableError as error:
            log.warning("heartbeat failed", job_id=group[0].job_id, jobs=len(group), error=str(error))
            self._fail("MongoDB could not be reached")
        except Exception as error:  # noqa: BLE001 - the next heartbeat may succeed after any error
            self._refuse(group, brief(error))
        else:
            link.outage.ended()
            self._count(renewal, sent_at)

    def _count(self, renewal: RenewalReply, sent_at: float) -> None:
        """Count the renewed leases, and report the lost ones."""
        if self._refusals >= _REFUSALS:
            self._table.forgive()
        self._failed_at, self._refusals = -math.inf, 0
        self._table.renewed(renewal.renewed, sent_at)
        for lease, reason in renewal.refused:
            log.warning("heartbeat refused", job_id=lease.job_id, error=reason)
            self._table.refused([lease], "MongoDB did not renew it", lease.together)
        self._table.refused(renewal.unsure, "MongoDB did not renew it", 1)
        for lease in renewal.gone:
            if self._table.take(lease.token) is not None:
                report(lease, LostClaim(reason="the claim is not held any more", known=True))

    def _refuse(self, group: list[Lease], error: str) -> None:
        log.warning("heartbeat refused", job_id=group[0].job_id, jobs=len(group), error=error)
        self._table.refused(group, "MongoDB did not renew it", len(group))
        self._refusals += 1
        if self._refusals >= _REFUSALS:
            self._failed_at = time.monotonic()

    def _fail(self, trouble: str) -> None:
        self._table.blame(trouble)
        self._failed_at = time.monotonic()
        since = self._link.outage.look() if self._link is not None else None
        if since is not None:
            self._table.excuse(since)

    def _patience(self) -> float:
        """Return the time limit of a call: about until the first lease ends."""
        first = self._table.first_end()
        return max(_SHORTEST_CALL, min(CALL_SECONDS, first - time.monotonic()))
