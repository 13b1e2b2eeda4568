"""The calls of `JobQueue` about many jobs, with the names of `AsyncClient`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.bulk.rules import Rules
from jobqueue.domain.insight.audit import PYTHON
from jobqueue.domain.search.filter_values import filter_json
from jobqueue.domain.steps.step import UNFORGOTTEN, FromStep
from jobqueue.domain.values.checks import check_id
from jobqueue.services.jobs.job_changes import requeue_changes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.bulk.rules import RulesChange
    from jobqueue.services.application import Runtime

_PAUSES: Final = (0.05, 1.0)


class Many:
    """Calls about many jobs."""

    if TYPE_CHECKING:

        async def open(self) -> Runtime:
            """Connect once, and return the services."""

    async def requeue_many(
        self,
        /,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        all_jobs: bool = False,
        from_step: FromStep = UNFORGOTTEN,
        data_patch: Mapping[str, Any] | None = None,
        trial: int | None = None,
        then: bool = False,
        pace: int | str | None = None,
        stop_after: int | None = None,
        **changes: Any,
    ) -> Operation:
        """Begin to start all failed and killed jobs that a MongoDB filter finds anew; return the operation.

        Args:
            filter: of jobs; other states have to be named in it.
            all_jobs: has to be true where the filter is empty.
            from_step: as in `JobQueue.requeue`.
            data_patch: a JSON merge patch of the data of each job.
            trial: so many jobs first; the rest only if all of them have succeeded.
            then: the rest follows the trial by itself; otherwise `resume_operation` goes on.
            pace: so many unfinished jobs at once, or as ``"20/m"`` so many a minute.
            stop_after: stop when so many of the jobs have failed again.
            changes: as in `JobQueue.requeue`.

        Raises:
            InvalidInputError: the filter is empty or cannot be used, or a change is not acceptable.
        """
        rules = Rules.of({"trial": trial, "then": then, "pace": pace, "stop_after": stop_after})
        more: dict[str, Any] = {"from_step": from_step, "data_patch": data_patch, "rules": rules}
        changed = requeue_changes(changes)
        return await self._begin(Action.REQUEUE, filter, all_jobs=all_jobs, changes=changed, **more)

    async def kill_many(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        all_jobs: bool = False,
        reason: str | None = None,
    ) -> Operation:
        """Begin to kill all unfinished jobs that a filter finds; as `requeue_many`."""
        return await self._begin(Action.KILL, filter, all_jobs=all_jobs, reason=reason)

    async def delete_many(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        all_jobs: bool = False,
    ) -> Operation:
        """Begin to delete all jobs that a filter finds and that are not processing; as `requeue_many`."""
        return await self._begin(Action.DELETE, filter, all_jobs=all_jobs)

    async def operation(self, operation_id: str) -> Operation:
        """Return an operation and its progress.

        Raises:
            NotFoundError: there is no operation of this id.
        """
        return await (await self.open()).operations.store.get(check_id(operation_id))

    async def stop_operation(self, operation_id: str) -> Operation:
        """Stop an operation; changes already made stay.

        Raises:
            ConflictError: the operation has ended.
        """
        return await (await self.open()).operations.store.stop(check_id(operation_id), by=PYTHON)

    async def resume_operation(self, operation_id: str, **rules: Unpack[RulesChange]) -> Operation:
        """Go on with a stopped operation where it stopped; no job has a second turn.

        Args:
            operation_id: of the operation.
            rules: another ``pace`` or ``stop_after``; ``None`` takes the present one away.

        Raises:
            ConflictError: the operation has not stopped.
        """
        return await (await self.open()).operations.resume(check_id(operation_id), dict(rules), PYTHON)

    async def wait_operation(self, operation_id: str, timeout: float | None = None) -> Operation:  # noqa: ASYNC109 - it goes on after it
        """Wait until an operation has ended, and return it; a process that works or serves carries it out.

        Args:
            operation_id: of the operation.
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            TimeoutError: the time is over; the operation goes on.
        """
        pause, longest = _PAUSES
        async with asyncio.timeout(timeout):
            while (seen := await self.operation(operation_id)).stage is Stage.RUNNING:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, longest)
        return seen

    async def _begin(
        self,
        action: Action,
        query: Mapping[str, Any] | None,
        *,
        all_jobs: bool,
        **more: Any,
    ) -> Operation:
        document = {} if query is None else filter_json(query, "filter")
        return await (await self.open()).operations.create(
            NewOperation(action=action, by=PYTHON, filter=document, all=all_jobs, **more)
        )
