"""Groups of failures that have the same cause, with their counts."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.bulk.comparison import compare
from jobqueue.domain.bulk.failure_comparison import FailureComparison, Looked, beginning
from jobqueue.domain.errors import InvalidInputError, NotFoundError, WrongStateError
from jobqueue.domain.steps.step import UNFORGOTTEN
from jobqueue.domain.work.failure import FailureDetails, FailureGroup, FailureQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.bulk.features import ComparedJob
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import FromStep
    from jobqueue.services.bulk.data_patches import DataPatches
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.store.bulk.failures import FailureStore

MARK_SECONDS: Final = 5.0
"""Seconds between looks for failures without a fingerprint."""
_AT_ONCE: Final = 500
_ON_REQUEST: Final = 50
"""Failures without a fingerprint that a request marks itself: those that a person has just made by hand, no import."""
_SHARE: Final = 20
"""Many failures without a fingerprint, as after an import, take a twentieth of the time."""
_SHOWN: Final = 20
_FAILED_HOW: Final = ("the newest ones", "all of them")
_SUCCEEDED_HOW: Final = ("the newest ones", "those added shortly before one of the failed ones")
_TRIES: Final = 10


class Failures:
    """Lists groups of failures, and tries one job of a group again."""

    def __init__(self, store: FailureStore, manager: JobManager, patches: DataPatches) -> None:
        self._store = store
        self._manager = manager
        self._patches = patches

    async def page(self, query: FailureQuery, *, scope: Scope = EVERYTHING) -> tuple[list[FailureGroup], bool]:
        """Return a page of groups, and true if there are more.

        Raises:
            InvalidInputError: there are more failures than can be grouped in time.
        """
        await self._store.mark(_ON_REQUEST)
        return await self._store.page(query, scope)

    async def group(self, fingerprint: str, *, scope: Scope = EVERYTHING) -> FailureDetails:
        """Return a group with its newest jobs.

        Raises:
            NotFoundError: no job of the group is in the scope.
        """
        query = FailureQuery(fingerprint=fingerprint)
        groups, _ = await self.page(query, scope=scope)
        if not groups:
            raise NotFoundError("failure", fingerprint)
        jobs = await self._store.newest(query, scope, _SHOWN)
        fields = {field.name: getattr(groups[0], field.name) for field in dataclasses.fields(FailureGroup)}
        return FailureDetails(**fields, jobs=tuple(jobs))

    async def latest(self, query: FailureQuery, *, scope: Scope = EVERYTHING) -> Job:
        """Return one of the latest jobs of a group.

        Raises:
            NotFoundError: no job of the group is in the scope.
        """
        job = await self._store.latest(query, scope)
        if job is None:
            raise NotFoundError("failure", query.fingerprint or "")
        return job

    async def compare(
        self, fingerprint: str, queue: str | None = None, *, scope: Scope = EVERYTHING
    ) -> FailureComparison:
        """Compare a sample of a group with jobs of the same type that succeeded.

        Args:
            fingerprint: of the group.
            queue: only jobs of this queue, failed or not.
            scope: no job outside of it is looked at.

        Raises:
            NotFoundError: no job of the group is in the scope.
        """
        query = FailureQuery(fingerprint=fingerprint, queue=queue)
        kind = (await self.latest(query, scope=scope)).type
        samples = await self._store.samples.read(query, kind, scope)
        # Many values take some tenths of a second, in which the event loop goes on.
        found = await asyncio.to_thread(compare, samples.failed, samples.succeeded, samples.any_time)
        return FailureComparison(
            fingerprint=fingerprint,
            type=kind,
            queue=queue,
            failed=_looked(samples.failed, _FAILED_HOW[samples.is_all]),
            succeeded=_looked(samples.succeeded, _SUCCEEDED_HOW[samples.is_near]),
            began=beginning(samples.before_first, samples.succeeded),
            found=found,
            is_complete=samples.is_complete,
        )

    async def try_one(
        self,
        query: FailureQuery,
        changes: Mapping[str, Any] | None = None,
        *,
        from_step: FromStep = UNFORGOTTEN,
        data_patch: Mapping[str, Any] | None = None,
        by: Actor,
        scope: Scope = EVERYTHING,
    ) -> Job:
        """Restart one of the latest jobs of a group; concurrent calls restart different jobs.

        Raises:
            NotFoundError: no job of the group is left in the scope.
            InvalidInputError: a change is not acceptable, or the job has no such step.
            KeyConflictError: another unfinished job has taken its key.
        """
        if data_patch is not None and "data" in (changes or {}):
            raise InvalidInputError({"dataPatch": ["is said together with data: leave one of them out"]})
        how: dict[str, Any] = {"from_step": from_step, "by": by}

        async def requeue(job_id: str) -> Job:
            if data_patch is None:
                return await self._manager.requeue(job_id, changes, **how)
            return await self._patches.requeue(job_id, data_patch, changes or {}, **how)

        for _ in range(_TRIES):
            job = await self.latest(query, scope=scope)
            try:
                return await requeue(job.id)
            except (NotFoundError, WrongStateError):
                # Another call was faster.
                continue
        return await requeue(job.id)

    async def run_once(self) -> float | None:
        """Give fingerprints to some new failures; return the seconds until the next ones, if there may be more."""
        began = time.monotonic()
        is_full = await self._store.mark(_AT_ONCE) == _AT_ONCE
        return _SHARE * (time.monotonic() - began) if is_full else None


def _looked(jobs: Sequence[ComparedJob], how: str) -> Looked:
    added = [job.insert_at for job in jobs]
    return Looked(count=len(jobs), how=how, first_at=min(added, default=None), last_at=max(added, default=None))
