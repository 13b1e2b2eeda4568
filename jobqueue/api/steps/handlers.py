"""Steps of a running job over HTTP: keep a result, wait without a slot, read a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.schemas.responses import StepResponse
from jobqueue.api.steps import schemas
from jobqueue.api.work.reports import read_report, settled
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.checks import check_number, gather
from jobqueue.domain.jobs.step import check_name
from jobqueue.services.work.suspending import suspend as suspend_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web


async def record(request: web.Request) -> web.Response:
    """Keep the result of a step of a running job, and renew its lease; the first result of a name stays."""
    job_id = path_id(request)
    body = await read_report(request, schemas.StepSchema)
    runtime = request.app[RUNTIME]
    job = await runtime.jobs.lean(job_id)
    recorded = await runtime.work.steps.record(job, body["token"], body["name"], body.get("result"))
    return reply(schemas.RecordedResponse.of(recorded))


async def suspend(request: web.Request) -> web.Response:
    """Suspend a job, uncounted, without a slot and a lease; without a time the job waits for its called children."""
    job_id = path_id(request)
    body = await read_report(request, schemas.SuspendSchema)
    _check_wait(body)
    runtime = request.app[RUNTIME]
    wait = {name: body.get(name) for name in ("name", "delay", "until")}
    await suspend_job(runtime.work, await runtime.jobs.lean(job_id), body["token"], **wait)
    return await settled(request, job_id)


async def show(request: web.Request) -> web.Response:
    """Return a finished step of a job with its result, however large."""
    step = await request.app[RUNTIME].work.steps.finished(path_id(request), request.match_info["step"])
    return reply(StepResponse.of(step))


def _check_wait(body: Mapping[str, Any]) -> None:
    problems: Problems = {}
    if body.get("name") is not None:
        gather(problems, check_name, body["name"])
    if body.get("delay") is not None:
        gather(problems, check_number, "delay", body["delay"])
        if body.get("until") is not None:
            problems["until"] = ["cannot be given together with delay"]
    elif body.get("until") is None and body.get("name") is not None:
        problems["delay"] = ["is required with a name: say how many seconds the job waits, or until when"]
    if problems:
        raise InvalidInputError(problems)
