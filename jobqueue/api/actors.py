"""Who makes a request, what it may see, and what the audit says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue.api.keys import CALLER, REMOTE, RUNTIME
from jobqueue.domain import wire
from jobqueue.domain.audit import Actor
from jobqueue.domain.checks import is_id
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiohttp import web

    from jobqueue.domain.access import Caller
    from jobqueue.domain.batch import Member
    from jobqueue.domain.job import Job, NewJob


def caller(request: web.Request) -> Caller:
    """Return who makes a request: ``admin`` with the admin token, ``nobody`` where none is needed."""
    return request[CALLER]


def actor(request: web.Request) -> Actor:
    """Return what the audit says of who makes a request."""
    who = caller(request)
    name = (
        who.name if who.token_id is None else f"{who.name} ({who.token_id})" if who.name != who.token_id else who.name
    )
    return Actor(name=name, via="http", address=request[REMOTE])


def shown(request: web.Request, job: Job) -> dict[str, Any]:
    """Return a job as JSON; tokens of claims only for those who may work, since whoever has one can end the job."""
    made = wire.job(job)
    return made if caller(request).may("work") else wire.without_tokens(made)


async def admitted(request: web.Request, jobs: Iterable[NewJob]) -> list[NewJob]:
    """Return new jobs within the caller's scope, their ``meta`` filled in.

    Raises:
        ForbiddenError: one is for another queue, or says something else in ``meta``.
        InvalidInputError: one depends on a job that is not there for this caller.
    """
    scope = caller(request).scope
    made = [scope.admit(job) for job in jobs]
    await _check_awaited(request, [one for job in made for one in job.depends_on])
    return made


async def admitted_members(request: web.Request, members: Sequence[Member]) -> tuple[Member, ...]:
    """Return the new jobs of a batch as `admitted`; raises the same."""
    scope = caller(request).scope
    made = tuple(replace(one, job=scope.admit(one.job)) for one in members)
    named = {one.ref for one in made}
    await _check_awaited(request, [after for one in made for after in one.after if after not in named and is_id(after)])
    return made


async def _check_awaited(request: web.Request, job_ids: list[str]) -> None:
    scope = caller(request).scope
    if scope.is_everything or not job_ids:
        return
    missing = await request.app[RUNTIME].visible.missing(job_ids, scope)
    if missing:
        raise InvalidInputError({"dependsOn": [f"there is no job {one}" for one in missing[:10]]})
