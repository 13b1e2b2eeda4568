"""The calls that all ways to reach a queue have: on the database or over HTTP, awaited or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.search.job_filter import JobFilter
    from jobqueue.domain.workflow.batch import AddedMember, BatchView, NewBatch


class Producer(Protocol):
    """Calls of `JobQueue` and `AsyncClient`."""

    async def add(self, kind: str, data: Mapping[str, Any] | None = None, **fields: Unpack[JobOptions]) -> Job:
        """Add a job and return it."""

    async def add_job(self, new: NewJob, *, session: Any = None) -> Job:
        """Add a job that was made before, and return it."""

    async def add_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Add jobs, all or none."""

    async def add_batch(self, batch: NewBatch) -> tuple[BatchView, list[AddedMember]]:
        """Create a batch and its first jobs."""

    async def get(self, job_id: str) -> Job:
        """Return a job."""

    def jobs(self, **conditions: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Yield all jobs that a filter finds."""

    async def kill(self, job_id: str, reason: str = ...) -> Job:
        """End an unfinished job."""

    async def requeue(self, job_id: str, **changes: Any) -> Job:
        """Start an ended or delayed job anew."""

    async def signal(self, job_id: str, name: str, value: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to a job; return False if the job had it already."""

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - the job goes on after it
        """Return a job when it has ended."""


class BlockingProducer(Protocol):
    """Calls of `Client`."""

    def add(self, kind: str, data: Mapping[str, Any] | None = None, **fields: Unpack[JobOptions]) -> Job:
        """Add a job and return it."""

    def add_job(self, new: NewJob, *, session: Any = None) -> Job:
        """Add a job that was made before, and return it."""

    def add_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Add jobs, all or none."""

    def add_batch(self, batch: NewBatch) -> tuple[BatchView, list[AddedMember]]:
        """Create a batch and its first jobs."""

    def get(self, job_id: str) -> Job:
        """Return a job."""

    def jobs(self, **conditions: Unpack[JobFilter]) -> Iterator[Job]:
        """Yield all jobs that a filter finds."""

    def kill(self, job_id: str, reason: str = ...) -> Job:
        """End an unfinished job."""

    def requeue(self, job_id: str, **changes: Any) -> Job:
        """Start an ended or delayed job anew."""

    def signal(self, job_id: str, name: str, value: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to a job; return False if the job had it already."""

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Return a job when it has ended."""
