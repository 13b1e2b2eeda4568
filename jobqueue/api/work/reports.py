"""Reports of workers about one running job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.api.http.json_body import MOST_BODY, read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import CLAIM_TOKEN, RUNTIME
from jobqueue.api.schemas.fields import sift
from jobqueue.api.work.schemas import SettledResponse
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from aiohttp import web

    from jobqueue.api.work.schemas import TokenSchema
    from jobqueue.domain.attempts.states import JobStanding
    from jobqueue.domain.jobs.job import Job


async def read_report(request: web.Request, schema: type[TokenSchema], *, most: int = MOST_BODY) -> dict[str, Any]:
    """Return the fields of a report; ``Authorization: Claim`` may have the token in place of the body.

    Raises:
        ProblemError: as `read_object`; under ``Authorization: Claim`` the body may be missing.
        InvalidInputError: naming each unacceptable field; also a token that is missing, or differs from the header.
    """
    shown = request.get(CLAIM_TOKEN)
    body, problems = sift(schema, await read_object(request, optional=shown is not None, most=most))
    token = body.get("token", shown)
    if token is None and "token" not in problems:
        problems["token"] = ["is required"]
    elif shown is not None and token != shown:
        problems.setdefault("token", ["is not the token of the header Authorization: leave one of them out"])
    if problems:
        raise InvalidInputError(problems)
    return {**body, "token": token}


async def claimed_job(request: web.Request, job_id: str, token: str) -> Job:
    """Return the job of a report: as this process has handed it out under the token, or read without large fields.

    Raises:
        NotFoundError: no job has this id.
    """
    runtime = request.app[RUNTIME]
    return runtime.work.handed_out.of(job_id, token) or await runtime.jobs.lean(job_id)


async def settled(request: web.Request, job_id: str, standing: JobStanding | None) -> web.Response:
    """Return the reply to a report that has ended a run: the state of the job, which is read if it is not known."""
    job: Any
    if standing is not None:
        job = {"id": job_id, "state": standing.state, "delay_til": standing.delay_til}
        return reply(SettledResponse.of(job))
    try:
        job = await request.app[RUNTIME].jobs.lean(job_id)
    except NotFoundError:
        # Only a job with onSuccessDelete can be gone by now.
        job = {"id": job_id, "state": State.SUCCESS, "delay_til": None}
    return reply(SettledResponse.of(job))
