"""Heartbeats from a thread of their own, so that nothing a callback does to the event loop can starve them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from jobqueue.journal import get_logger
from jobqueue.store import statements
from jobqueue.store.database import brief

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.store.database import Database

log = get_logger(__name__)
_LONGEST_INTERVAL: Final = 10.0
_BEATS_PER_LEASE: Final = 4
_RETRY_SECONDS: Final = 0.5
_CALL_MS: Final = 5000


@dataclass(slots=True)
class _Held:
    job_id: str
    queue: str
    token: str
    lease: float
    on_lost: Callable[[str], None]
    renewed_at: float
    next_at: float

    def interval(self) -> float:
        return min(self.lease / _BEATS_PER_LEASE, _LONGEST_INTERVAL)


class LeaseKeeper:
    """Renews the leases of the jobs this process runs.

    A job whose claim is gone, or whose lease must have ended because the database did not answer in time (measured by
    this host's steady clock from the sending of the last good heartbeat), is reported as lost, once, from the thread.
    """

    def __init__(self, database: Database) -> None:
        self._url, self._name = database.url, database.name
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._sleeps_until = float("-inf")
        self._thread: threading.Thread | None = None

    def keep(self, job_id: str, queue: str, token: str, lease: float, on_lost: Callable[[str], None]) -> None:
        """Renew a lease until `let_go`.

        Args:
            job_id: the job.
            queue: its queue.
            token: of the claim.
            lease: in seconds.
            on_lost: called from the thread with the reason when the claim is not held any more.
        """
        now = time.monotonic()
        one = _Held(job_id, queue, token, lease, on_lost, now, now)
        one.next_at = now + one.interval()
        with self._changed:
            self._held[token] = one
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            if one.next_at < self._sleeps_until:
                self._changed.notify()

    def let_go(self, token: str) -> None:
        """Stop renewing."""
        with self._changed:
            self._held.pop(token, None)

    def check(self, token: str) -> None:
        """Renew at once, to learn whether the claim is still held."""
        with self._changed:
            if token in self._held:
                self._held[token].next_at = time.monotonic()
                self._changed.notify()

    def stop(self) -> None:
        """End the thread; leases that are still kept are not renewed any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=_CALL_MS / 1000 + 1)

    def _run(self) -> None:
        client: MongoClient[Any] = MongoClient(
            self._url, maxPoolSize=1, timeoutMS=_CALL_MS, appname="jobqueue-leases", retryWrites=True
        )
        jobs = client.get_database(self._name).get_collection("jobs", write_concern=WriteConcern("majority", j=True))
        try:
            while (batch := self._wait()) is not None:
                for one in batch:
                    self._renew(jobs, one)
        finally:
            client.close()

    def _wait(self) -> list[_Held] | None:
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                due = [one for one in self._held.values() if one.next_at <= now]
                if due:
                    return sorted(due, key=lambda one: one.next_at)
                nearest = min((one.next_at for one in self._held.values()), default=None)
                self._sleeps_until = float("inf") if nearest is None else nearest
                self._changed.wait(None if nearest is None else nearest - now)
                self._sleeps_until = float("-inf")
            return None

    def _renew(self, jobs: Any, one: _Held) -> None:
        sent_at = time.monotonic()
        try:
            found = jobs.find_one_and_update(
                statements.held(one.job_id, one.queue, one.token),
                statements.renew(statements.SERVER_NOW),
                projection={"_id": 1},
            )
        except PyMongoError as error:
            log.warning("heartbeat failed", job_id=one.job_id, error=brief(error))
            one.next_at = time.monotonic() + min(_RETRY_SECONDS, one.interval())
            if time.monotonic() - one.renewed_at >= one.lease:
                self._lost(one, "the lease has ended: MongoDB could not be reached")
            return
        if found is None:
            self._lost(one, "the claim is not held any more")
            return
        one.renewed_at, one.next_at = sent_at, sent_at + one.interval()

    def _lost(self, one: _Held, reason: str) -> None:
        with self._changed:
            known = self._held.pop(one.token, None)
        if known is not None:
            one.on_lost(reason)
