"""The worker's side over HTTP: claims, heartbeats and reports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiohttp import web

from jobqueue.api.http.json_body import read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.idempotency_key import claim_key, report_id
from jobqueue.api.queues.handlers import path_queue
from jobqueue.api.schemas.fields import sift
from jobqueue.api.schemas.queries import LONGEST_WAIT
from jobqueue.api.security.token_watch import watched
from jobqueue.api.work import schemas
from jobqueue.api.work.long_poll import LONG_POLL, ClaimRequest, TooManyPollsError
from jobqueue.api.work.reports import claimed_job, read_report, settled
from jobqueue.domain.attempts.attempt import LONGEST_TRACE, JobError
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.errors import InvalidInputError, Problems, StaleTokenError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.text import cut_middle
from jobqueue.domain.values.checks import check_number, check_type, check_version, gather
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.work.verdict import Verdict
    from jobqueue.services.runs.attempts import ClaimedJob


async def claim(request: web.Request) -> web.StreamResponse:
    """Claim a job of a queue, waiting up to ``wait`` seconds for one; 204 if there is none.

    A request that is repeated under its ``Idempotency-Key`` gets the job that it has claimed, while that runs.
    """
    claim_request = _claim_request(path_queue(request), await read_object(request))
    claim_request = replace(claim_request, key=claim_key(request, claim_request.worker))
    claimed = None
    try:
        async with watched(request) as watch:
            claimed = await request.app[LONG_POLL].claim(claim_request, watch.gone)
    except TooManyPollsError:
        title = "Too many requests wait for jobs"
        detail = "this process lets no more requests wait; try again, or ask another one"
        raise ProblemError(503, "too-many-waiting", title, detail, {"Retry-After": "1"}) from None
    except BaseException:
        if claimed is not None:
            request.app[LONG_POLL].give_back(claimed)
        raise
    if claimed is None:
        return web.Response(status=204)
    return await _hand_over(request, claimed)


async def heartbeat(request: web.Request) -> web.Response:
    """Renew a lease, with progress and log lines; the reply says if a person killed the job.

    The lines of a report that is repeated under its ``Idempotency-Key`` are stored once.
    """
    job_id = path_id(request)
    body = await read_report(request, schemas.HeartbeatSchema)
    token, progress, lines = body["token"], body.get("progress"), body.get("logs", [])
    _check_heartbeat(progress, lines)
    runtime, report = request.app[RUNTIME], report_id(request)
    job = await claimed_job(request, job_id, token)
    if job.claim is not None and job.claim.token == token:
        beat = await runtime.work.report(job, token, progress=progress, lines=lines, report=report)
        if beat is not None:
            return reply(schemas.BeatResponse.of({"reset_at": beat.reset_at, "cancelled": False}))
        runtime.work.handed_out.take(job_id, token)
        job = await runtime.jobs.lean(job_id)
    if any(attempt.token == token and attempt.outcome is Outcome.KILL for attempt in job.history):
        return reply(schemas.BeatResponse.of({"reset_at": None, "cancelled": True}))
    raise StaleTokenError(job_id, job.state)


async def succeed(request: web.Request) -> web.Response:
    """End a job with a result."""
    job_id = path_id(request)
    body = await read_report(request, schemas.SucceedSchema)
    return await _settle(request, job_id, body["token"], Success(result=body.get("result")))


async def fail(request: web.Request) -> web.Response:
    """Report a failed attempt."""
    job_id = path_id(request)
    body = await read_report(request, schemas.FailSchema)
    trace = body.get("trace")
    # The end of a long traceback names the place of the error.
    kept = None if trace is None else cut_middle(trace, LONGEST_TRACE)
    error = JobError(kind="fail", message=body["reason"], trace=kept)
    return await _settle(request, job_id, body["token"], Failure(error=error))


async def die(request: web.Request) -> web.Response:
    """End a job that can never succeed."""
    job_id = path_id(request)
    body = await read_report(request, schemas.DieSchema)
    return await _settle(request, job_id, body["token"], Death(error=JobError(kind="die", message=body["reason"])))


async def retry(request: web.Request) -> web.Response:
    """Run a job again, uncounted, after ``delay`` seconds, and after 1 second at the earliest."""
    job_id = path_id(request)
    body = await read_report(request, schemas.RetrySchema)
    delay, reason = body.get("delay"), body.get("reason")
    if delay is not None:
        check_number("delay", delay)
    verdict = RunAgain(delay=delay, error=None if reason is None else JobError(kind="retry", message=reason))
    runtime = request.app[RUNTIME]
    # The steps that have finished since the claim count.
    job = await runtime.jobs.lean(job_id)
    return await settled(request, job_id, await runtime.work.settle(job, body["token"], verdict, is_read=True))


async def _settle(request: web.Request, job_id: str, token: str, verdict: Verdict) -> web.Response:
    runtime = request.app[RUNTIME]
    job = runtime.work.handed_out.take(job_id, token) or await runtime.jobs.lean(job_id)
    return await settled(request, job_id, await runtime.work.settle(job, token, verdict))


async def _hand_over(request: web.Request, claimed: ClaimedJob) -> web.StreamResponse:
    """Send a claimed job, or give it back if the connection is gone."""
    request.app[RUNTIME].work.handed_out.keep(claimed.job, claimed.token)
    try:
        response = reply({"job": json_form.handed(claimed.job, claimed.results), "token": claimed.token})
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            request.app[LONG_POLL].give_back(claimed)
    except BaseException as error:
        request.app[LONG_POLL].give_back(claimed, error)
        raise
    return response


def _claim_request(queue: str, body: Mapping[str, Any]) -> ClaimRequest:
    values, problems = sift(schemas.ClaimSchema, body)
    worker, types, wait = values.get("worker", "?"), values.get("types"), values.get("wait", 0)
    if not 1 <= len(worker) <= schemas.LONGEST_WORKER or not worker.isprintable():
        problems["worker"] = [f"must be 1 to {schemas.LONGEST_WORKER} printable characters"]
    if (version := values.get("version")) is not None:
        gather(problems, check_version, version)
    if not 0 <= wait <= LONGEST_WAIT:
        problems["wait"] = [f"must be from 0 to {LONGEST_WAIT} seconds"]
    if values.get("lease") is not None:
        gather(problems, check_number, "lease", values["lease"])
    if types is not None and "types" not in problems:
        _check_types(types, problems)
    if problems:
        raise InvalidInputError(problems)
    chosen = None if types is None else tuple(sorted(set(types)))
    lease = values.get("lease")
    return ClaimRequest(queue=queue, types=chosen, worker=worker, lease=lease, wait=wait, version=version)


def _check_types(types: list[str], problems: Problems) -> None:
    if not 1 <= len(types) <= schemas.MOST_TYPES:
        problems["types"] = [f"takes 1 to {schemas.MOST_TYPES} types; leave it out to take any"]
    for index, kind in enumerate(types[: schemas.MOST_TYPES]):
        gather(problems, check_type, kind, f"types.{index}")


def _check_heartbeat(progress: float | None, lines: list[tuple[str, str | None]]) -> None:
    problems: Problems = {}
    if progress is not None and not 0 <= progress <= 100:  # noqa: PLR2004 - said in the message
        problems["progress"] = ["must be from 0 to 100"]
    if len(lines) > schemas.MOST_LINES:
        problems["logs"] = [f"takes at most {schemas.MOST_LINES:,} lines at a time"]
    for index, (_, level) in enumerate(lines[: schemas.MOST_LINES]):
        if level is not None and not (1 <= len(level) <= schemas.LONGEST_LEVEL and level.isprintable()):
            problems[f"logs.{index}.level"] = [f"must be 1 to {schemas.LONGEST_LEVEL} printable characters"]
    if problems:
        raise InvalidInputError(problems)
