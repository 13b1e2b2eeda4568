"""Heartbeats from threads of their own, so that a callback that blocks the event loop cannot starve them.

A worker that cannot reach the database may be the only one. Then other workers take over its jobs as soon as their
leases have ended, and by then it must have stopped. If no process can reach the database, no job changes hands: after
an outage of more than half a lease every reaper gives each worker a whole lease to renew. So a lease counts from the
last good heartbeat. It counts from the last moment at which all members of the replica set refused connections, if they
did so for more than half the lease.

Two threads share the work. The renewer talks to MongoDB. The watch talks to no server, reports the leases that have
ended, and replaces a renewer that has died or hangs.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

from jobqueue.journal import get_logger
from jobqueue.store.work.lease_table import Lease, LeaseTable, LostClaim, report
from jobqueue.store.work.renewals import CALL_SECONDS
from jobqueue.store.work.renewer import Renewer

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.mongo.database import Database

__all__ = ["LeaseKeeper", "LostClaim"]

log = get_logger(__name__)
_LOOK_SECONDS: Final = 0.5
_STALL_SECONDS: Final = 0.25
_SECOND_CHANCE: Final = 0.5
_MOST_STUCK: Final = 4


class LeaseKeeper:
    """Renews the leases of the jobs that this process runs.

    A thread reports a job as lost, once, when its claim is gone or its lease must have ended by this host's clock.
    """

    def __init__(self, database: Database) -> None:
        self._url, self._name = database.url, database.name
        self._table = LeaseTable()
        self._threads = threading.Lock()
        self._renewer: Renewer | None = None
        self._watcher: threading.Thread | None = None
        self._stuck: list[Renewer] = []

    def keep(self, job: Job, token: str, on_lost: Callable[[LostClaim], None], *, since: float) -> None:
        """Renew a lease until `let_go`.

        Args:
            job: as claimed.
            token: of the claim.
            on_lost: called from a thread when the claim is lost.
            since: the sending of the claim, by the monotonic clock: the lease may have begun then.

        Raises:
            RuntimeError: this process can start no thread.
        """
        self._start_threads()
        self._table.add(
            Lease(
                job_id=job.id, queue=job.queue, token=token, seconds=job.held_lease, on_lost=on_lost, renewed_at=since
            )
        )

    def tell_step(self, token: str, step: str | None) -> None:
        """Keep the name of the step under way with the next renewal."""
        self._table.tell_step(token, step)

    def let_go(self, token: str) -> None:
        """Stop renewing."""
        self._table.take(token)

    def check(self, token: str) -> None:
        """Renew a lease at once, to learn whether the claim still holds."""
        self._table.hasten(token)

    def stop(self) -> None:
        """End the threads, and with them all renewals."""
        self._table.stop()
        with self._threads:
            threads = [self._watcher, None if self._renewer is None else self._renewer.thread]
        for thread in threads:
            if thread is not None:
                thread.join(timeout=CALL_SECONDS + 1)

    def _start_threads(self) -> None:
        """Start the threads that do not run."""
        with self._threads:
            if self._table.stopping:
                return
            if self._watcher is None or not self._watcher.is_alive():
                if self._watcher is not None:
                    log.error("lease watch restarted")
                self._watcher = threading.Thread(target=self._watch, name="leases-watch", daemon=True)
                self._watcher.start()
            if self._renewer is None or not self._renewer.is_well:
                self._replace(self._renewer)

    def _replace(self, old: Renewer | None) -> None:
        if old is not None:
            self._stuck = [renewer for renewer in self._stuck if renewer.thread.is_alive()]
            if len(self._stuck) == _MOST_STUCK:
                return
            old.dismiss()
            self._stuck.append(old)
            log.error("heartbeats restarted")
        self._renewer = Renewer(self._table, self._url, self._name, self._start_threads)
        self._renewer.thread.start()

    def _watch(self) -> None:
        while (late := self._rest()) is not None:
            try:
                self._look(late)
            except Exception:
                log.exception("lease watch failed")
                time.sleep(_LOOK_SECONDS)

    def _rest(self) -> float | None:
        """Wait until a lease ends, half a second at most; return by how many seconds the wait was too long."""
        with self._table.changed:
            if self._table.stopping:
                return None
            ends = [lease.until for lease in self._table.leases()]
            alarm = min(*ends, time.monotonic() + _LOOK_SECONDS) if ends else math.inf
            self._table.sleep_until(alarm)
            return max(0.0, time.monotonic() - alarm)

    def _look(self, late: float) -> None:
        """Report the leases that have ended, and keep the threads running."""
        self._start_threads()
        if late > _STALL_SECONDS and self._renewer is not None and not self._renewer.is_failing:
            # This whole process stood still. A renewal now may show that its claims still hold.
            time.sleep(min(late, _SECOND_CHANCE))
        for lease in self._table.ended():
            report(lease, LostClaim(reason=f"the lease has ended: {lease.trouble}", known=False))
