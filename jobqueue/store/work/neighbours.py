"""The running jobs of a worker, and the notes that reapers leave on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.crash import Neighbour
from jobqueue.domain.attempts.states import State
from jobqueue.store.documents import documents, statements, suspect_statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

INDEX: Final = "lease"
_SHOWN: Final[Document] = {
    "queue": 1,
    "claim.token": 1,
    "claim.worker": 1,
    "claim.lease": 1,
    "claim.beside": 1,
    "lease": 1,
    "startAt": 1,
    "resetAt": 1,
}

_RUNNING: Final[Document] = {"queue": 1, "type": 1, "claim": 1, "startAt": 1, "progress": 1, "meta": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerJobs:
    """The running jobs of some workers.

    Attributes:
        jobs: by the name of the worker.
        signed_at: the last sign of life of each process, by name.
        now: the earliest server's time at which the jobs were read.
    """

    jobs: dict[str, list[Neighbour]]
    signed_at: dict[str, datetime]
    now: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """A running job of a worker."""

    id: str
    queue: str
    type: str
    worker: str
    start_at: datetime | None
    progress: float
    step: str | None
    meta: Mapping[str, Any]


class NeighbourStore:
    """Reads the `jobs` and `workers` collections."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._workers = database.collection("workers")

    @guarded
    async def of(self, workers: Collection[str]) -> WorkerJobs:
        """Return the running jobs of workers, and the last signs of life of the processes among them."""
        present = {"$add": [self._clock.present, 0]}
        jobs: dict[str, list[Neighbour]] = {}
        now: datetime | None = None
        async for document in self._jobs.find(
            suspect_statements.beside(workers), _SHOWN | {"now": present}, hint=INDEX
        ):
            now = document["now"] if now is None else min(now, document["now"])
            if (neighbour := _neighbour(document)) is not None:
                jobs.setdefault(neighbour.worker, []).append(neighbour)
        signed = self._workers.find({"_id": {"$in": sorted(workers)}, "isProcess": True}, {"at": 1})
        return WorkerJobs(
            jobs=jobs, signed_at={str(document["_id"]): document["at"] async for document in signed}, now=now
        )

    @guarded
    async def mark(self, group: Sequence[Neighbour]) -> None:
        """Note on jobs that they ran beside each other when their worker died; a renewed job gets no note."""
        await self._jobs.bulk_write([UpdateOne(*_mark(neighbour)) for neighbour in group], ordered=False)

    @guarded
    async def running(self, workers: Collection[str], limit: int) -> list[RunningJob]:
        """Return jobs that workers run, those whose leases end first first."""
        query = {"state": State.PROCESSING.value, "claim.worker": {"$in": sorted(workers)}}
        found = self._jobs.find(query, _RUNNING, hint=INDEX).sort("resetAt", 1).limit(limit)
        jobs = [documents.job(document) async for document in found]
        return [
            RunningJob(
                id=job.id,
                queue=job.queue,
                type=job.type,
                worker=job.claim.worker,
                start_at=job.start_at,
                progress=job.progress,
                step=job.claim.step,
                meta=job.meta,
            )
            for job in jobs
            if job.claim is not None
        ]

    @guarded
    async def busy_with_suspects(self) -> set[str]:
        """Return the names of the workers that run a job alone."""
        cursor = self._jobs.find(suspect_statements.running(), {"claim.worker": 1}, hint=INDEX)
        return {str((document.get("claim") or {}).get("worker")) async for document in cursor}


def _mark(neighbour: Neighbour) -> tuple[Document, Document]:
    same = statements.held(neighbour.job_id, neighbour.queue, neighbour.token) | {"resetAt": neighbour.reset_at}
    return same, {"$set": {"claim.beside": neighbour.reset_at}}


def _neighbour(document: Document) -> Neighbour | None:
    """Return a job as a neighbour; ``None`` for a job that another tool has spoilt."""
    job = documents.job(document)
    if job.claim is None or job.start_at is None or job.reset_at is None:
        return None
    return Neighbour(
        job_id=job.id,
        queue=job.queue,
        worker=job.claim.worker,
        token=job.claim.token,
        start_at=job.start_at,
        reset_at=job.reset_at,
        lease=job.held_lease,
        beside=job.claim.beside,
    )
