"""Heartbeats from threads of their own, so that nothing a callback does to the event loop can starve them.

A worker that does not reach the database cannot know whether it is alone with that. If it is, others take its jobs
over as soon as their leases have ended, and by then it must have stopped. If the database is away for everybody,
nobody takes anything over: after an outage of more than half a lease every reaper gives each worker one whole lease to
renew. So a lease counts from the last good heartbeat, or from the last moment at which every member of the replica set
refused connections, provided they have done so for more than half the lease: then nobody had a database.

Two threads share the work. The renewer talks to MongoDB. The watch talks to nobody, reports the leases that have ended,
and replaces a renewer that has died or hangs.
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
    """Renews the leases of the jobs this process runs.

    A job whose claim is gone, or whose lease must have ended (by this host's steady clock, as said above), is reported
    as lost, once, from a thread.
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
            on_lost: called from a thread when the claim is not held any more.
            since: when the claim was sent, by the steady clock: its lease may have begun then.

        Raises:
            RuntimeError: this process can start no thread.
        """
        self._man()
        self._table.add(
            Lease(
                job_id=job.id, queue=job.queue, token=token, seconds=job.held_lease, on_lost=on_lost, renewed_at=since
            )
        )

    def let_go(self, token: str) -> None:
        """Stop renewing."""
        self._table.take(token)

    def check(self, token: str) -> None:
        """Renew at once, to learn whether the claim is still held."""
        self._table.hasten(token)

    def stop(self) -> None:
        """End the threads; leases that are still kept are not renewed any more."""
        self._table.stop()
        with self._threads:
            threads = [self._watcher, None if self._renewer is None else self._renewer.thread]
        for thread in threads:
            if thread is not None:
                thread.join(timeout=CALL_SECONDS + 1)

    def _man(self) -> None:
        """Start the threads that do not run."""
        with self._threads:
            if self._table.stopping:
                return
            if self._watcher is None or not self._watcher.is_alive():
                if self._watcher is not None:
                    log.error("the watch over leases has ended; it is started again")
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
            log.error("heartbeats have ended or hang; they are started again")
        self._renewer = Renewer(self._table, self._url, self._name, self._man)
        self._renewer.thread.start()

    def _watch(self) -> None:
        while (late := self._rest()) is not None:
            try:
                self._look(late)
            except Exception:
                log.exception("the watch over leases failed")
                time.sleep(_LOOK_SECONDS)

    def _rest(self) -> float | None:
        """Wait until a lease ends, half a second at most; return by how many seconds the waiting took too long."""
        with self._table.changed:
            if self._table.stopping:
                return None
            ends = [lease.until for lease in self._table.leases()]
            alarm = min(*ends, time.monotonic() + _LOOK_SECONDS) if ends else math.inf
            self._table.sleep_until(alarm)
            return max(0.0, time.monotonic() - alarm)

    def _look(self, late: float) -> None:
        """Report the leases that have ended, and see to it that the others are renewed."""
        self._man()
        if late > _STALL_SECONDS and self._renewer is not None and not self._renewer.is_failing:
            # This whole process stood still. The database, asked now, may know that its claims still hold.
            time.sleep(min(late, _SECOND_CHANCE))
        for lease in self._table.ended():
            report(lease, LostClaim(reason=f"the lease has ended: {lease.trouble}", known=False))
