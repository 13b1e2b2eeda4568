"""Jobs that programs have claimed from this process by polling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.jobs.job import NewJob
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job

MOST_REMEMBERED: Final = 5_000
_SOME_CHILD: Final = NewJob(type="child")
"""Stands for the children of a job: its end only needs to know that there are any."""
_LEFT_OUT: Final[dict[str, Any]] = {
    "data": {}, "meta": {}, "depends_on": (), "logs": (), "result": None, "error": None, "history": (),
    "waits_for": (), "callback_of": None, "parents": None, "steps": None, "wait": None, "signals": None,
}  # fmt: skip


class HandedOut:
    """Remembers claimed jobs without their large fields, so that their reports need not read them.

    A worker ends a job as it was claimed; so does a program that polls. What this process has forgotten, and what
    another process has handed out, is read. The guard of each report decides as ever: a claim that is remembered here
    may have been lost.
    """

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._known: LruCache[str, tuple[str, Job]] = LruCache(most)

    def keep(self, job: Job, token: str) -> None:
        """Remember a claimed job."""
        children: dict[str, Any] = {
            name: _SOME_CHILD for name in ("on_complete", "on_success", "on_failure") if getattr(job, name) is not None
        }
        self._known.keep(job.id, (token, replace(job, **_LEFT_OUT, **children)))

    def of(self, job_id: str, token: str) -> Job | None:
        """Return the job that was claimed under a token, if it is remembered."""
        known = self._known.get(job_id)
        return known[1] if known is not None and known[0] == token else None

    def take(self, job_id: str, token: str) -> Job | None:
        """Return the job as `of`, and forget it: a repeated report has to read what the first one did."""
        job = self.of(job_id, token)
        if job is not None:
            self._known.forget(job_id)
        return job

    def queue_of(self, job_id: str) -> str | None:
        """Return the queue of a remembered job; no job changes its queue."""
        known = self._known.get(job_id)
        return None if known is None else known[1].queue
