"""Heartbeats from a thread of their own, so that nothing a callback does to the event loop can starve them.

A worker that does not reach the database cannot know whether it is alone with that. If it is, others take its jobs
over as soon as their leases have ended, and by then it must have stopped. If the database is away for everybody,
nobody takes anything over: after an outage of more than half a lease every reaper gives each worker one whole lease to
renew. So a lease counts from the last good heartbeat, or from the last moment at which every member of the replica set
refused connections, provided they have done so for more than half the lease: then nobody had a database.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pymongo
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.journal import get_logger
from jobqueue.store import statements
from jobqueue.store.database import brief, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobqueue.domain.job import Job
    from jobqueue.store.database import Database

log = get_logger(__name__)
_LONGEST_INTERVAL: Final = 10.0
_BEATS_PER_LEASE: Final = 4
_TRIES_PER_LEASE: Final = 16
_RETRY_SECONDS: Final = 0.5
_CALL_MS: Final = 5000
_SHORTEST_CALL: Final = 0.5
_SHORTEST_RETRY: Final = 0.05
_SELECTION_SECONDS: Final = 0.25
"""How long to wait for a primary before looking around; one that is slow is known already, and waited for."""
_REFUSAL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Why a claim is not held any more.

    Attributes:
        reason: in words.
        known: the database has said so. Otherwise it could not be asked in time, and the claim may be the current one.
    """

    reason: str
    known: bool


@dataclass(slots=True)
class _Held:
    job_id: str
    queue: str
    token: str
    lease: float
    on_lost: Callable[[Loss], None]
    renewed_at: float
    next_at: float
    until: float

    def interval(self) -> float:
        return min(self.lease / _BEATS_PER_LEASE, _LONGEST_INTERVAL)


class Outage:
    """Since when every member of the replica set has refused connections, without one that did not.

    Args:
        client: whose members are asked.
    """

    def __init__(self, client: MongoClient[Any]) -> None:
        self._client = client
        self._began: float | None = None
        self._has_answered = False

    def look(self) -> float | None:
        """Ask all members; return since when, by the steady clock, all have refused, or ``None`` if one has not."""
        if not self._all_refuse():
            self._began = None
        elif self._began is None:
            self._began = time.monotonic()
        return self._began

    def ended(self) -> None:
        """Note that the database answers, and so all its members are known."""
        self._began, self._has_answered = None, True

    def _all_refuse(self) -> bool:
        if not self._has_answered:
            return False
        topology = self._client.topology_description
        # Only of a replica set are all members known; behind other routers of a cluster it may well be there.
        if not topology.topology_type_name.startswith("ReplicaSet"):
            return False
        return all(map(_refuses, topology.server_descriptions()))


class LeaseKeeper:
    """Renews the leases of the jobs this process runs.

    A job whose claim is gone, or whose lease must have ended (by this host's steady clock, as said above), is reported
    as lost, once, from the thread.
    """

    def __init__(self, database: Database) -> None:
        self._url, self._name = database.url, database.name
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._sleeps_until = -math.inf
        self._failed_at = -math.inf
        self._thread: threading.Thread | None = None

    def keep(self, job: Job, token: str, on_lost: Callable[[Loss], None], *, since: float) -> None:
        """Renew a lease until `let_go`.

        Args:
            job: as claimed.
            token: of the claim.
            on_lost: called from the thread when the claim is not held any more.
            since: when the claim was sent, by the steady clock: its lease may have begun then.
        """
        one = _Held(job.id, job.queue, token, job.held_lease, on_lost, renewed_at=since, next_at=since, until=since)
        one.next_at, one.until = since + one.interval(), since + one.lease
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
            self._url,
            maxPoolSize=1,
            timeoutMS=_CALL_MS,
            appname="jobqueue-leases",
            # A heartbeat that failed is sent again all the same, after a look around.
            retryWrites=False,
        )
        jobs = client.get_database(self._name).get_collection("jobs", write_concern=WriteConcern("majority", j=True))
        outage = Outage(client)
        try:
            with contextlib.suppress(PyMongoError):
                client.admin.command("ping")
                outage.ended()
            while (batch := self._wait()) is not None:
                self._renew_all(jobs, batch, outage)
        finally:
            client.close()

    def _wait(self) -> list[_Held] | None:
        """Wait for leases that are to be renewed; after a failure for one that has ended, too."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                due = [one for one in self._held.values() if self._due_at(one) <= now]
                if due:
                    return sorted(due, key=lambda one: one.next_at)
                nearest = min(map(self._due_at, self._held.values()), default=math.inf)
                self._sleeps_until = nearest
                self._changed.wait(None if nearest == math.inf else nearest - now)
                self._sleeps_until = -math.inf
            return None

    def _due_at(self, one: _Held) -> float:
        if self._failed_at == -math.inf:
            return one.next_at
        retry_at = self._failed_at + min(_RETRY_SECONDS, one.lease / _TRIES_PER_LEASE)
        return min(max(one.next_at, retry_at), max(one.until, self._failed_at + _SHORTEST_RETRY))

    def _renew_all(self, jobs: Any, batch: Sequence[_Held], outage: Outage) -> None:
        """Renew leases; where one cannot be, the others could not be either, and waiting for each would take too long.

        As long as all members refuse connections there is no use in trying.
        """
        failing = self._failed_at != -math.inf
        for one in batch:
            if (failing and outage.look() is not None) or not self._renew(jobs, one):
                self._failed_at = time.monotonic()
                self._give_up(outage.look())
                return
            failing = False
            self._failed_at = -math.inf
            outage.ended()

    def _renew(self, jobs: Any, one: _Held) -> bool:
        """Renew one lease; tell whether the database has answered."""
        sent_at = time.monotonic()
        try:
            with translated(), pymongo.timeout(self._patience(sent_at)):
                self._find_primary(jobs.database.client)
                found = jobs.find_one_and_update(
                    statements.held(one.job_id, one.queue, one.token),
                    statements.renew(statements.SERVER_NOW),
                    projection={"_id": 1},
                )
        except DatabaseUnavailableError as error:
            log.warning("heartbeat failed", job_id=one.job_id, error=str(error))
            return False
        except PyMongoError as error:
            log.warning("heartbeat refused", job_id=one.job_id, error=brief(error))
            one.next_at = time.monotonic() + min(_RETRY_SECONDS, one.interval())
            if time.monotonic() >= one.until:
                self._lost(one, Loss(reason="the lease has ended: MongoDB did not renew it", known=False))
            return True
        if found is None:
            self._lost(one, Loss(reason="the claim is not held any more", known=True))
        else:
            one.renewed_at, one.next_at, one.until = sent_at, sent_at + one.interval(), sent_at + one.lease
        return True

    def _find_primary(self, client: MongoClient[Any]) -> None:
        """Make the driver look for a primary, for a moment, if it knows of none."""
        if not client.topology_description.has_writable_server():
            with pymongo.timeout(_SELECTION_SECONDS):
                client.admin.command("ping")

    def _patience(self, now: float) -> float:
        """Return how many seconds a call may take: no longer than until the first lease ends."""
        with self._changed:
            first = min((one.until for one in self._held.values()), default=math.inf)
        shortest = _SHORTEST_CALL if self._failed_at == -math.inf else _SHORTEST_RETRY
        return max(shortest, min(_CALL_MS / 1000, first - now))

    def _give_up(self, refused_since: float | None) -> None:
        """Report the jobs as lost whose lease has ended."""
        now = time.monotonic()
        with self._changed:
            held = list(self._held.values())
        for one in held:
            if refused_since is not None and refused_since >= one.renewed_at and now - refused_since > one.lease / 2:
                one.until = now + one.lease
            if now >= one.until:
                self._lost(one, Loss(reason="the lease has ended: MongoDB could not be reached", known=False))

    def _lost(self, one: _Held, loss: Loss) -> None:
        with self._changed:
            known = self._held.pop(one.token, None)
        if known is not None:
            one.on_lost(loss)


def _refuses(address: tuple[str, int | None]) -> bool:
    """Tell whether nobody listens at an address, on a host that is there to say so."""
    try:
        with socket.create_connection(address, timeout=_REFUSAL_SECONDS):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
