"""Changes of many jobs, and failures in groups, over HTTP.

A change of many jobs has a name of its own: it returns an operation that goes on, and no forgotten id can become all
jobs.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.client.calls import Calls, made, pairs, path, view
from jobqueue.client.errors import of_problem
from jobqueue.client.wire import views
from jobqueue.client.wire.comparison import FailureComparisonView
from jobqueue.client.wire.forms import given, requeue_form
from jobqueue.domain.bulk.operation import Action, Stage
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.jobs.json_form import camel, value
from jobqueue.domain.search.filter_values import filter_json
from jobqueue.domain.steps.step import UNFORGOTTEN, FromStep
from jobqueue.domain.values.checks import check_id
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime
    from typing import Unpack

    from jobqueue.domain.bulk.rules import RulesChange
    from jobqueue.domain.jobs.job import Job

_CONFLICT: Final = 409
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class BulkCalls(Calls):
    """Calls about many jobs."""

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
    ) -> views.OperationView:
        """Begin to start all failed and killed jobs that a MongoDB filter finds anew; return the operation.

        Args:
            filter: of jobs; other states have to be named in it.
            all_jobs: there is no filter, and all jobs are meant.
            from_step: as for `requeue`.
            data_patch: a JSON merge patch of the data of each job.
            trial: so many jobs first; the rest only if all of them have succeeded.
            then: the rest follows the trial by itself; otherwise `resume_operation` goes on.
            pace: so many unfinished jobs at once, or as ``"20/m"`` so many a minute.
            stop_after: stop when so many of the jobs have failed again.
            changes: new values of ``data``, ``attempts``, ``backoff`` and ``priority``.

        Raises:
            InvalidInputError: the filter is empty, or a mistake in it or in a change.
            ServerUnreachableError: there was no answer. The call is not repeated by itself: look at `operations` first.
        """
        rules = _rules(data_patch, trial=trial, then=then or None, pace=pace, stopAfter=stop_after)
        form = requeue_form(from_step, changes) | rules
        return await self._begin("requeue", _many(filter, all_jobs=all_jobs, **form))

    async def kill_many(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        all_jobs: bool = False,
        reason: str | None = None,
    ) -> views.OperationView:
        """Begin to kill all unfinished jobs that a filter finds; as `requeue_many`."""
        return await self._begin("kill", _many(filter, all_jobs=all_jobs, **given(reason=reason)))

    async def delete_many(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        all_jobs: bool = False,
    ) -> views.OperationView:
        """Begin to delete all jobs that a filter finds and that are not processing; as `requeue_many`."""
        return await self._begin("delete", _many(filter, all_jobs=all_jobs))

    async def preview_many(
        self,
        action: str,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        all_jobs: bool = False,
        data_patch: Mapping[str, Any] | None = None,
    ) -> views.PreviewView:
        """Return the number of jobs that ``requeue``, ``kill`` or ``delete`` would change; nothing is changed.

        With ``data_patch``, ``data_samples`` has the data of up to three jobs before and after a requeue.
        """
        body = _many(filter, all_jobs=all_jobs, dryRun=True, **_rules(data_patch))
        return await self._read(view(views.PreviewView), "POST", "jobs", Action.of(action).value, body=body)

    def operations(self, state: str | None = None) -> AsyncIterator[views.OperationView]:
        """Yield all operations, newest first; ``state`` is ``running``, ``finished``, ``stopped`` or ``failed``."""
        return self._pages(view(views.OperationView), "operations", query={"state": state, "limit": 200})

    async def operation(self, operation_id: str) -> views.OperationView:
        """Return an operation and its progress."""
        return await self._read(view(views.OperationView), "GET", "operations", check_id(operation_id))

    async def stop_operation(self, operation_id: str) -> views.OperationView:
        """Stop an operation; changes already made stay.

        Raises:
            ConflictError: the operation has ended.
        """
        parts = ("operations", check_id(operation_id), "stop")
        reply = await self._send("POST", *parts, expected=frozenset({_CONFLICT}))
        if reply.status != _CONFLICT:
            return made(view(views.OperationView), reply)
        if not reply.uncertain:
            raise of_problem(reply.status, reply.body, path(*parts))
        # The try before, whose reply was lost, has stopped it.
        return await self.operation(operation_id)

    async def resume_operation(self, operation_id: str, **rules: Unpack[RulesChange]) -> views.OperationView:
        """Go on with a stopped operation where it stopped; no job has a second turn.

        Args:
            operation_id: of the operation.
            rules: another ``pace`` or ``stop_after``; ``None`` takes the present one away.

        Raises:
            ConflictError: the operation has not stopped.
        """
        parts = ("operations", check_id(operation_id), "resume")
        body = {camel(name): value for name, value in rules.items()}
        reply = await self._send("POST", *parts, body=body, expected=frozenset({_CONFLICT}))
        if reply.status != _CONFLICT:
            return made(view(views.OperationView), reply)
        if not reply.uncertain:
            raise of_problem(reply.status, reply.body, path(*parts))
        # The try before, whose reply was lost, goes on with it.
        return await self.operation(operation_id)

    async def wait_operation(self, operation_id: str, timeout: float | None = None) -> views.OperationView:  # noqa: ASYNC109 - it goes on after it
        """Wait until an operation has ended, and return it.

        Args:
            operation_id: of the operation.
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            TimeoutError: the time is over; the operation goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while (seen := await self.operation(operation_id)).state == Stage.RUNNING:
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"operation {operation_id} has not ended within {timeout:g} seconds")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return seen

    def failures(
        self,
        *,
        queue: str | None = None,
        type: str | None = None,  # noqa: A002 - the name of the API
        state: str | None = None,
        inserted_after: datetime | None = None,
        inserted_before: datetime | None = None,
        ended_after: datetime | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[views.FailureView]:
        """Yield failed and killed jobs in groups of the same mistake, the largest group first.

        Args:
            queue: of the jobs.
            type: of the jobs.
            state: ``failed`` or ``killed``; both by default.
            inserted_after: only jobs that were added then or later.
            inserted_before: only jobs that were added earlier.
            ended_after: only jobs that ended then or later.
            newest_first: the group with the last failure comes first.
        """
        query = {
            "queue": queue,
            "type": type,
            "state": state,
            "insertedAfter": inserted_after,
            "insertedBefore": inserted_before,
            "endedAfter": ended_after,
            "sort": BY_LAST if newest_first else BY_COUNT,
        }
        return self._pages(view(views.FailureView), "failures", query=query)

    async def failure(self, fingerprint: str) -> views.FailureGroupView:
        """Return a group of failures with its trace and its newest jobs."""
        return await self._read(view(views.FailureGroupView), "GET", "failures", fingerprint)

    async def compare_failures(self, fingerprint: str, *, queue: str | None = None) -> FailureComparisonView:
        """Compare the failed jobs of a group with jobs of the same type that succeeded.

        Args:
            fingerprint: of the group.
            queue: only jobs of this queue.
        """
        read, query = view(FailureComparisonView), pairs({"queue": queue})
        return await self._read(read, "GET", "failures", fingerprint, "compare", query=query)

    async def requeue_failures(
        self,
        /,
        fingerprint: str,
        *,
        queue: str | None = None,
        from_step: FromStep = UNFORGOTTEN,
        data_patch: Mapping[str, Any] | None = None,
        trial: int | None = None,
        then: bool = False,
        pace: int | str | None = None,
        stop_after: int | None = None,
        **changes: Any,
    ) -> views.OperationView:
        """Begin to start a group of failures anew; as `requeue_many`."""
        rules = _rules(data_patch, trial=trial, then=then or None, pace=pace, stopAfter=stop_after)
        body = {**requeue_form(from_step, changes), **given(queue=queue), **rules}
        read = view(views.OperationView)
        return await self._read(read, "POST", "failures", fingerprint, "requeue", body=body, safe=False)

    async def try_failure(
        self,
        /,
        fingerprint: str,
        *,
        queue: str | None = None,
        from_step: FromStep = UNFORGOTTEN,
        data_patch: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Job:
        """Start one job of a group of failures anew, on trial, and return it."""
        body = {**requeue_form(from_step, changes), **given(queue=queue), **_rules(data_patch), "trial": True}
        reply = await self._send("POST", "failures", fingerprint, "requeue", body=body, safe=False)
        return json_reading.job(reply.body["job"])

    async def _begin(self, action: str, body: Mapping[str, Any]) -> views.OperationView:
        return await self._read(view(views.OperationView), "POST", "jobs", action, body=body, safe=False)


def _many(query: Mapping[str, Any] | None, *, all_jobs: bool, **more: Any) -> dict[str, Any]:
    form: dict[str, Any] = {"filter": filter_json(query, "filter")} if query else {}
    return form | ({"all": True} if all_jobs else {}) | more


def _rules(data_patch: Mapping[str, Any] | None, **rules: Any) -> dict[str, Any]:
    """Return the rules of an operation, and the patch of its data, as JSON."""
    return given(dataPatch=None if data_patch is None else value(dict(data_patch)), **rules)
