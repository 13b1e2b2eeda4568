"""Steps of a running job over HTTP: keep a result, wait without a slot, read a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.idempotency_key import report_id
from jobqueue.api.schemas.responses import StepResponse
from jobqueue.api.security.caller import actor
from jobqueue.api.steps import schemas
from jobqueue.api.work.reports import claimed_job, read_report, settled
from jobqueue.api.work.schemas import SettledResponse
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.steps.signal import check_signal, check_timeout
from jobqueue.domain.steps.step import Wait, check_name
from jobqueue.domain.values.checks import check_number, gather
from jobqueue.domain.work.verdict import Suspension
from jobqueue.services.runs.suspending import suspend as suspend_job
from jobqueue.services.runs.suspending import suspend_for_signal
from jobqueue.services.steps.steps import Recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web


async def record(request: web.Request) -> web.Response:
    """Keep the result of a step of a running job, and renew its lease; the first result of a name stays.

    A step that must not run twice is in doubt if a request with another ``Idempotency-Key`` has begun it.
    """
    job_id = path_id(request)
    body = await read_report(request, schemas.StepSchema)
    runtime = request.app[RUNTIME]
    steps, token, name = runtime.work.steps, body["token"], body["name"]
    job = await claimed_job(request, job_id, token)
    _check_once(body)
    if body.get("once"):
        return reply(schemas.RecordedResponse.of(await steps.begin_once(job, token, name, key=report_id(request))))
    if body.get("not_done"):
        await steps.unmark(job, token, name)
        return reply(schemas.RecordedResponse.of(Recorded(result=None, existed=False)))
    recorded = await steps.record(job, token, name, body.get("result"))
    return reply(schemas.RecordedResponse.of(recorded))


async def suspend(request: web.Request) -> web.Response:
    """Suspend a job, uncounted, without a slot and a lease; without a time the job waits for its called children."""
    job_id = path_id(request)
    body = await read_report(request, schemas.SuspendSchema)
    _check_wait(body)
    work, token = request.app[RUNTIME].work, body["token"]
    job = await request.app[RUNTIME].jobs.lean(job_id)
    if body.get("doubt") is not None:
        verdict = Suspension(wait=Wait(names=(body["doubt"],), doubt=body["doubt"]))
        standing = await work.settle(job, token, verdict, is_read=True)
    elif body.get("signal") is not None:
        name, seconds = body.get("name"), body.get("timeout")
        standing = await suspend_for_signal(work, job, token, body["signal"], name=name, seconds=seconds)
    else:
        wait = {name: body.get(name) for name in ("name", "delay", "until")}
        standing = await suspend_job(work, job, token, **wait)
    return await settled(request, job_id, standing)


async def decide(request: web.Request) -> web.Response:
    """Say whether a step in doubt has happened; the job goes on."""
    job_id, name = path_id(request), request.match_info["step"]
    body = await read_body(request, schemas.DecisionSchema)
    doubts, happened = request.app[RUNTIME].doubts, body["happened"]
    job = await doubts.decide(job_id, name, happened=happened, result=body.get("result"), by=actor(request))
    return reply(SettledResponse.of(job))


async def show(request: web.Request) -> web.Response:
    """Return a finished step of a job with its result, however large."""
    step = await request.app[RUNTIME].work.steps.finished(path_id(request), request.match_info["step"])
    return reply(StepResponse.of(step))


def _check_once(body: Mapping[str, Any]) -> None:
    given = [name for name in ("once", "not_done") if body.get(name)]
    if len(given) > 1:
        raise InvalidInputError({"notDone": ["cannot be given together with once"]})
    if given and body.get("result") is not None:
        raise InvalidInputError({"result": ["is for a step that has finished: send it without once and notDone"]})


def _check_wait(body: Mapping[str, Any]) -> None:
    problems: Problems = {}
    if body.get("name") is not None:
        gather(problems, check_name, body["name"])
    if body.get("delay") is not None:
        gather(problems, check_number, "delay", body["delay"])
        if body.get("until") is not None:
            problems["until"] = ["cannot be given together with delay"]
    elif body.get("until") is None and body.get("name") is not None and body.get("signal") is None:
        problems["delay"] = ["is required with a name: say how many seconds the job waits, or until when"]
    _check_signal(body, problems)
    if body.get("doubt") is not None:
        gather(problems, check_name, body["doubt"], "doubt")
        for name in ("name", "delay", "until", "signal"):
            if body.get(name) is not None:
                problems[name] = ["cannot be given together with doubt"]
    if problems:
        raise InvalidInputError(problems)


def _check_signal(body: Mapping[str, Any], problems: Problems) -> None:
    timed = [name for name in ("delay", "until") if body.get(name) is not None]
    if body.get("signal") is None:
        if body.get("timeout") is not None:
            problems["timeout"] = ["is for the wait for a signal"]
        return
    gather(problems, check_signal, body["signal"])
    gather(problems, check_timeout, body.get("timeout"))
    for name in timed:
        problems[name] = ["cannot be given together with signal: the wait for it ends by its timeout"]
