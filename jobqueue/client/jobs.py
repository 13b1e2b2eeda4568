"""Jobs over HTTP: add, show, list, change and wait for them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from jobqueue.client.calls import Calls, made, pairs, path, view
from jobqueue.client.errors import UnexpectedReplyError, of_problem
from jobqueue.client.transport import Call
from jobqueue.client.wire import views
from jobqueue.client.wire.forms import given, job_form, new_job_forms, query_form, requeue_form, search_form
from jobqueue.domain.attempts.states import FINAL, Outcome, State
from jobqueue.domain.errors import ChangedMeanwhileError, InvalidInputError
from jobqueue.domain.jobs import json_reading
from jobqueue.domain.jobs.ended import result_of
from jobqueue.domain.jobs.json_form import new_job as new_form
from jobqueue.domain.jobs.json_form import value as json_value
from jobqueue.domain.jobs.options import new_job
from jobqueue.domain.search.filter_values import filter_json
from jobqueue.domain.search.job_filter import job_query
from jobqueue.domain.search.query import Page
from jobqueue.domain.steps.signal import check_signal, check_value
from jobqueue.domain.steps.step import UNFORGOTTEN, FromStep
from jobqueue.domain.values.checks import check_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from jobqueue.client.transport import Reply
    from jobqueue.domain.attempts.attempt import LogLine
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.search.job_filter import JobFilter
    from jobqueue.domain.steps.step import Step

_POLL_SECONDS: Final = 25.0
"""Seconds of one request that waits; proxies cut connections that are silent for a minute, and some for half a one."""
_CONFLICT: Final = 409
_CHANGED: Final = 412
_TURNS: Final = 10
_LOG_PAGE: Final = 1000


class JobCalls(Calls):
    """Calls about single jobs."""

    async def add(self, kind: str, data: Mapping[str, Any] | None = None, **fields: Unpack[JobOptions]) -> Job:
        """Add a job and return it; as `JobQueue.add`. A repetition after a lost connection adds nothing twice.

        Raises:
            InvalidInputError: naming each unacceptable field.
            KeyConflictError: an unfinished job of the queue has this key.
        """
        return await self.add_job(new_job(kind, data, **fields))

    async def add_job(self, new: NewJob, *, session: Any = None) -> Job:
        """Add a job that was made before, and return it; as `add`.

        Raises:
            InvalidInputError: also for a session, which needs a `JobQueue` on the database.
        """
        if session is not None:
            raise InvalidInputError({"session": ["needs a JobQueue: a transaction cannot span a request over HTTP"]})
        return await self._read(json_reading.job, "POST", "jobs", body=new_form(new), keyed=True)

    async def add_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Add up to 1,000 jobs, all or none.

        Raises:
            InvalidInputError: no jobs, or too many.
            KeyConflictError: an unfinished job has the key of one.
        """
        body = {"jobs": await new_job_forms(jobs)}
        reply = await self._send("POST", "jobs", "bulk", body=body, keyed=True)
        return made(lambda added: [json_reading.job(job) for job in added["items"]], reply)

    async def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is no job of this id.
        """
        return made(json_reading.job, await self._show(job_id))

    def jobs(self, **conditions: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Yield all jobs that a filter finds, newest first, a page at a time; their steps lack the results.

        Raises:
            InvalidInputError: naming each unacceptable condition.
        """
        return self._pages(json_reading.job, "jobs", query=query_form(job_query(**conditions)))

    async def page(self, query: tuple[tuple[str, str], ...]) -> Page:
        """Return one page of a listing by the parameters of the API."""
        reply = await self._send("GET", "jobs", query=query)
        return made(lambda page: Page(items=tuple(map(json_reading.job, page["items"])), next=page["next"]), reply)

    def search(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        sort: Mapping[str, int] | None = None,
        slow: bool = False,
        limit: int = 200,
    ) -> AsyncIterator[Job]:
        """Yield all jobs that a MongoDB filter finds.

        Args:
            filter: in Extended JSON; dates may be dates with a time zone.
            sort: one field with 1, or with -1 for the highest first; ``{"insertAt": -1}`` by default.
            slow: search as long as necessary, up to a hard limit.
            limit: jobs of one page, at most 500.

        Raises:
            InvalidInputError: naming each mistake of the filter.
            TooCostlyError: the search would look at too many jobs.
        """
        return self._pages(json_reading.job, "jobs", "search", body=search_form(filter, sort, limit, slow=slow))

    def rows(
        self,
        fields: Sequence[str],
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        sort: Mapping[str, int] | None = None,
        slow: bool = False,
        limit: int = 500,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield some fields of the jobs that a MongoDB filter finds, as JSON; otherwise as `search`.

        Args:
            fields: names of fields, dotted ones such as ``data.n`` too; ``id`` comes with them.
            filter: as for `search`, as are the others.
            sort: of the rows.
            slow: search as long as necessary.
            limit: rows of one page.
        """
        body = {**search_form(filter, sort, limit, slow=slow), "fields": list(fields)}
        return self._pages(dict, "jobs", "search", body=body)

    async def count(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the API
        *,
        most: int = 1000,
        slow: bool = False,
    ) -> views.CountView:
        """Count the jobs that a MongoDB filter finds, ``most`` of them at most.

        Raises:
            InvalidInputError, TooCostlyError: as `search`.
        """
        body = {**given(filter=filter_json(filter or {}, "filter") or None, most=most), "slow": slow}
        return await self._read(view(views.CountView), "POST", "jobs", "count", body=body)

    async def aggregate(self, pipeline: Sequence[Mapping[str, Any]], *, slow: bool = False) -> views.RowsView:
        """Return the rows of a pipeline over jobs.

        Raises:
            InvalidInputError, TooCostlyError: as `search`.
        """
        body = {"pipeline": filter_json(pipeline, "pipeline"), **({"slow": True} if slow else {})}
        return await self._read(view(views.RowsView), "POST", "jobs", "aggregate", body=body)

    async def logs(
        self,
        job_id: str,
        *,
        levels: Sequence[str] = (),
        attempt: int | None = None,
        text: str | None = None,
        follow: bool = False,
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of a job's log.

        Args:
            job_id: of the job.
            levels: only lines of these levels.
            attempt: only lines of this attempt.
            text: only lines that contain this text, in upper or lower case.
            follow: go on with new lines until the job has ended.

        Raises:
            NotFoundError: there is no job of this id.
        """
        cursor: str | None = None
        wait = _POLL_SECONDS if follow else 0
        query = {"level": tuple(levels), "attempt": attempt, "q": text, "limit": _LOG_PAGE, "wait": wait or None}
        while True:
            parameters = pairs({**query, "cursor": cursor})
            reply = await self._send("GET", "jobs", check_id(job_id), "logs", query=parameters, wait=wait)
            lines, more, cursor, ended = made(_log_page, reply)
            for line in lines:
                yield line
            if not more and (ended or not follow):
                return

    async def family(self, job_id: str) -> views.FamilyView:
        """Return the relatives of a job."""
        return await self._read(view(views.FamilyView), "GET", "jobs", check_id(job_id), "family")

    async def why(self, job_id: str) -> views.WhyView:
        """Return the reasons why a job is not running."""
        return await self._read(view(views.WhyView), "GET", "jobs", check_id(job_id), "why")

    async def kill(self, job_id: str, reason: str | None = None) -> Job:
        """End an unfinished job.

        Raises:
            WrongStateError: the job has ended.
        """
        body, place = given(reason=reason), ("jobs", check_id(job_id), "kill")
        try:
            return made(json_reading.job, await self._change(place, body))
        except _UncertainError as error:
            job = await self.get(job_id)
            if job.state is State.KILLED:
                return job
            raise error.cause from None

    async def requeue(self, /, job_id: str, *, from_step: FromStep = UNFORGOTTEN, **changes: Any) -> Job:
        """Start an ended or delayed job anew; as `JobQueue.requeue`. A repetition never starts it twice.

        Args:
            job_id: of the job.
            from_step: the name of the first step that runs again, with all that finished after it; ``None`` for all.
            changes: new values of ``data``, ``attempts``, ``backoff`` and ``priority``.

        Raises:
            InvalidInputError: a change is not acceptable, or the job has no such step.
            WrongStateError: the job waits already, or runs.
        """
        body, place = requeue_form(from_step, changes), ("jobs", check_id(job_id), "requeue")
        for _ in range(_TURNS):
            before = await self._show(job_id)
            headers = {"If-Match": _tag(before)}
            try:
                return made(json_reading.job, await self._change(place, body, headers=headers))
            except _UncertainError as error:
                # The lost try was carried out, or somebody else has changed the job.
                job = await self.get(job_id)
                if _requeues(job) > _requeues(made(json_reading.job, before)):
                    return job
                if not isinstance(error.cause, ChangedMeanwhileError):
                    raise error.cause from None
            except ChangedMeanwhileError:
                continue
        raise ChangedMeanwhileError("job", job_id)

    async def patch(self, /, job_id: str, **changes: Any) -> Job:
        """Change ``data``, ``priority``, ``delay_til``, ``start_before`` and more of a job that is not processing."""
        return await self._read(json_reading.job, "PATCH", "jobs", check_id(job_id), body=job_form(changes))

    async def delete(self, job_id: str) -> None:
        """Delete a job that is not processing, with its logs.

        Raises:
            NotFoundError: there is no job of this id.
            WrongStateError: the job is processing.
        """
        await self._delete("jobs", check_id(job_id))

    async def signal(self, job_id: str, name: str, value: Any = None, *, signal_id: str | None = None) -> bool:
        """Send a signal to an unfinished job; return False if the job had it already.

        Args:
            job_id: of the job.
            name: of the signal.
            value: JSON, at most 256 KiB.
            signal_id: the same id again sends nothing.

        Raises:
            WrongStateError: the job has ended.
            ConflictError: a hundred signals of the job wait already.
        """
        return await self._signal(("jobs", check_id(job_id)), name, value, signal_id)

    async def signal_by_key(
        self, queue: str, key: str, name: str, value: Any = None, *, signal_id: str | None = None
    ) -> bool:
        """Send a signal to the unfinished job of a queue with this key; as `signal`.

        Raises:
            NotFoundError: there is no such job.
        """
        return await self._signal(("queues", queue, "keys", key), name, value, signal_id)

    async def steps(self, job_id: str) -> tuple[Step, ...]:
        """Return the steps of a job; results that are kept outside of the job lack: see `step_result`."""
        return (await self.get(job_id)).steps or ()

    async def step_result(self, job_id: str, name: str) -> Any:
        """Return the result of a finished step, however large.

        Raises:
            NotFoundError: there is no such job, or no such finished step of it.
        """
        step = await self._read(json_reading.step, "GET", "jobs", check_id(job_id), "steps", name)
        return step.result

    async def decide(self, job_id: str, name: str, *, happened: bool, result: Any = None) -> None:
        """Say whether a step in doubt has happened, and with which result; the job goes on.

        Raises:
            ConflictError: the job has no such step in doubt.
        """
        body = {"happened": happened, **given(result=json_value(result))}
        await self._send("POST", "jobs", check_id(job_id), "steps", name, body=body, safe=False)

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - the job goes on after it
        """Wait until a job has ended, and return it, however it ended.

        Args:
            job_id: of the job.
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            NotFoundError: there is no job of this id, or it was deleted.
            TimeoutError: the time is over; the job goes on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        reply = await self._show(job_id)
        while True:
            job = made(json_reading.job, reply)
            if job.state in FINAL:
                return job
            left = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"job {job_id} has not ended within {timeout:g} seconds; it is {job.state}")
            later = await self._show(job_id, wait=left, known=_tag(reply))
            # 304: nothing has changed.
            reply = later if later.body is not None else replace(reply, headers=later.headers)

    async def result(self, job_id: str, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as above
        """Wait until a job has ended, and return its result.

        Raises:
            JobFailedError: the job failed or was killed.
            TimeoutError, NotFoundError: as `wait`.
        """
        return result_of(await self.wait(job_id, timeout))

    async def _show(self, job_id: str, *, wait: float = 0, known: str | None = None) -> Reply:
        query = pairs({"wait": f"{wait:.3f}"}) if wait else ()
        headers = {} if known is None else {"If-None-Match": known}
        expected = frozenset({304})
        return await self._send(
            "GET", "jobs", check_id(job_id), query=query, wait=wait, headers=headers, expected=expected
        )

    async def _change(
        self, place: tuple[str, ...], body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a change that a repetition finds made.

        Raises:
            _UncertainError: a repetition was refused, perhaps because an earlier try was carried out.
        """
        refusals = frozenset({_CONFLICT, _CHANGED})
        call = Call(method="POST", path=path(*place), body=body, headers=headers or {}, expected=refusals)
        reply = await self._transport.send(call)
        if reply.status not in refusals:
            return reply
        error = of_problem(reply.status, reply.body, call.path)
        if reply.uncertain:
            raise _UncertainError(error)
        raise error

    async def _signal(self, place: tuple[str, ...], name: str, value: Any, signal_id: str | None) -> bool:
        body = {"value": json_value(check_value(value)[0]), **given(id=signal_id)}
        parts = (*place, "signals", check_signal(name, "name"))
        reply = await self._send("POST", *parts, body=body, keyed=signal_id is None)
        # A repetition finds the signal of the try whose reply was lost.
        return made(lambda sent: not sent["existed"], reply) or reply.uncertain


class _UncertainError(Exception):
    """Report that a change was refused when it was sent again."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))


def _log_page(page: Any) -> tuple[list[LogLine], bool, str, bool]:
    lines = [json_reading.log_line(line) for line in page["items"]]
    return lines, page["next"] is not None, page["resume"], page["ended"]


def _tag(reply: Reply) -> str:
    tag = reply.headers.get("ETag")
    if tag is None:
        raise UnexpectedReplyError(reply.status, "the job has no ETag: a proxy has taken it away")
    return tag


def _requeues(job: Job) -> int:
    return sum(1 for entry in job.history if entry.outcome is Outcome.REQUEUE)
