"""Calls of queue objects about failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.work.failure import FailureQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from jobqueue.domain.bulk.failure_comparison import FailureComparison
    from jobqueue.domain.work.failure import FailureDetails, FailureGroup
    from jobqueue.services.application import Runtime


class FailureCalls:
    """Calls about failed and killed jobs in groups of the same mistake."""

    if TYPE_CHECKING:

        async def open(self) -> Runtime:
            """Connect once, and return the services."""

    async def failures(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        ended_after: datetime | None = None,
    ) -> AsyncIterator[FailureGroup]:
        """Yield failed and killed jobs in groups of the same mistake, the largest group first.

        Raises:
            InvalidInputError: there are more failures than can be grouped in time.
        """
        service = (await self.open()).failures
        query = FailureQuery(queue=queue, type=type, ended_after=ended_after)
        while True:
            groups, more = await service.page(query)
            for group in groups:
                yield group
            if not more or not groups:
                return
            query = query.at(query.cursor(groups[-1]))

    async def failure(self, fingerprint: str) -> FailureDetails:
        """Return a group of failures with its newest jobs.

        Raises:
            NotFoundError: there is no such group.
        """
        return await (await self.open()).failures.group(check_fingerprint(fingerprint))

    async def compare_failures(self, fingerprint: str, *, queue: str | None = None) -> FailureComparison:
        """Compare the failed jobs of a group with jobs of the same type that succeeded.

        Args:
            fingerprint: of the group.
            queue: only jobs of this queue.

        Raises:
            NotFoundError: there is no such group.
        """
        return await (await self.open()).failures.compare(check_fingerprint(fingerprint), queue)
