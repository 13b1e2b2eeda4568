"""Awaited children of a running job over HTTP: create them, and read their results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue.api.http.json_body import MOST_BATCH_BODY
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import CALLER, CLAIM_TOKEN, QUERY, RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.new_jobs import JobReader
from jobqueue.api.schemas.queries import NO_CURSOR
from jobqueue.api.security.caller import admitted
from jobqueue.api.steps import schemas
from jobqueue.api.work.reports import read_report
from jobqueue.domain.access.access import Scope
from jobqueue.domain.errors import CallFailedError, InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.call import FAILURES, MOST_CALLED
from jobqueue.domain.steps.step import check_name
from jobqueue.domain.values.checks import gather
from jobqueue.domain.work.calls import NewCall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from jobqueue.domain.steps.step import Step

_MOST_READ = 2 * MOST_CALLED
"""Jobs in one request, their own children included."""


async def call(request: web.Request) -> web.Response:
    """Create children of a running job, each once; ``suspend`` waits for them, and the step has their results then."""
    job_id = path_id(request)
    body = await read_report(request, schemas.CallSchema, most=MOST_BATCH_BODY)
    runtime = request.app[RUNTIME]
    job = await runtime.jobs.lean(job_id)
    if CLAIM_TOKEN in request:
        # A claim is no right to other queues: its worker may have a token for this queue only.
        request[CALLER] = replace(request[CALLER], scope=Scope(queues=(job.queue,)))
    new = await _new_call(request, body)
    called = await runtime.work.steps.call(job, body["token"], body["name"], new)
    if called.has_failed and called.step.error is not None:
        raise CallFailedError(f"{called.step.error.message}; the next attempt of the job may ask again")
    form = {
        "name": body["name"],
        "job_ids": called.step.job_ids or len(new.jobs),
        "unfinished": called.unfinished,
        "finished": called.step.is_finished,
    }
    return reply(schemas.CalledResponse.of(form))


async def results(request: web.Request) -> web.Response:
    """Return results of the children of a finished step, a part at a time, in the order of the children."""
    query, steps = request[QUERY], request.app[RUNTIME].work.steps
    step = await steps.finished(path_id(request), request.match_info["step"])
    start, total = query["cursor"], _count(step)
    if start > total:
        raise InvalidInputError({"cursor": [NO_CURSOR]})
    items = await steps.calls.page(step, start, query["limit"])
    end = start + len(items)
    following = schemas.place_cursor(end) if items and end < total else None
    return reply(schemas.ResultsResponse.of({"items": json_form.value(items), "next": following}))


def _count(step: Step) -> int:
    if step.call is None:
        raise InvalidInputError({"step": [f"{step.name!r} has no children"]})
    return step.job_ids or 0


async def _new_call(request: web.Request, body: Mapping[str, Any]) -> NewCall:
    """Read the children of a request, within the scope of the caller.

    Raises:
        InvalidInputError: naming each unacceptable field.
        ForbiddenError: a child lies outside of the scope.
    """
    problems: Problems = {}
    gather(problems, check_name, body["name"])
    failures, jobs = body.get("failures", FAILURES[0]), body["jobs"]
    if failures not in FAILURES:
        problems["failures"] = [f"must be one of {', '.join(FAILURES)}"]
    single = isinstance(jobs, dict)
    items = [jobs] if single else jobs
    if len(items) > MOST_CALLED:
        raise InvalidInputError({"jobs": [f"takes at most {MOST_CALLED:,} jobs"]})
    reader = JobReader(_MOST_READ)
    read = [reader.read(item, "jobs" if single else f"jobs.{place}") for place, item in enumerate(items)]
    reader.check(problems)
    new = await admitted(request, [job for job in read if job is not None])
    return NewCall(jobs=tuple(new), single=single, failures=failures)
