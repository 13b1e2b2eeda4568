"""What goes wrong, and how often: failures in groups of the same mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import NotFoundError, WrongStateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.failure import FailureGroup, FailureQuery
    from jobqueue.services.bulk.people import People
    from jobqueue.store.bulk.failures import FailureStore

MARK_SECONDS: Final = 5.0
"""Between looks for failures that have no fingerprint yet."""
_AT_ONCE: Final = 500
_TRIES: Final = 10


class Failures:
    """Looks at failures as a whole, and tries one of a group again."""

    def __init__(self, store: FailureStore, people: People) -> None:
        self._store = store
        self._people = people

    async def page(self, query: FailureQuery, *, scope: Scope = EVERYTHING) -> tuple[list[FailureGroup], bool]:
        """Return a page of groups, and whether there are more.

        Raises:
            InvalidInputError: there are more failures than can be grouped in time.
        """
        await self._store.mark(_AT_ONCE)
        return await self._store.page(query, scope)

    async def latest(self, query: FailureQuery, *, scope: Scope = EVERYTHING) -> Job:
        """Return one of the latest jobs of a group.

        Raises:
            NotFoundError: there is none in the scope.
        """
        job = await self._store.latest(query, scope)
        if job is None:
            raise NotFoundError("failure", query.fingerprint or "")
        return job

    async def try_one(
        self, query: FailureQuery, changes: Mapping[str, Any] | None = None, *, by: Actor, scope: Scope = EVERYTHING
    ) -> Job:
        """Start one of the latest jobs of a group anew; if others do so too, each another one.

        Raises:
            NotFoundError: there is none left in the scope.
            InvalidInputError: a change is not acceptable.
            KeyConflictError: another unfinished job has taken its key.
        """
        for _ in range(_TRIES):
            job = await self.latest(query, scope=scope)
            try:
                return await self._people.requeue(job.id, changes, by=by)
            except (NotFoundError, WrongStateError):
                # Somebody else was faster.
                continue
        return await self._people.requeue(job.id, changes, by=by)

    async def run_once(self) -> float | None:
        """Give a fingerprint to a part of what has none; return in how many seconds to go on if more may be."""
        return 0.0 if await self._store.mark(_AT_ONCE) == _AT_ONCE else None
