"""Who makes a request, what it may see, and what the audit says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue.api.http.keys import CALLER, REMOTE, RUNTIME
from jobqueue.domain.access.access import CHILD_FIELDS, NOBODY
from jobqueue.domain.errors import ConflictError, InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import is_id
from jobqueue.domain.jobs.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aiohttp import web

    from jobqueue.domain.access.access import Caller
    from jobqueue.domain.jobs.job import Children, Job
    from jobqueue.domain.workflow.batch import Member


def caller(request: web.Request) -> Caller:
    """Return who makes a request: ``admin`` with the admin token, ``nobody`` where none is needed."""
    return request[CALLER]


def insistent(request: web.Request) -> str | None:
    """Return whose searches that insist are counted together; ``None`` for a caller who needs no token."""
    who = caller(request)
    if who.token_id is not None:
        return f"token {who.token_id}"
    return None if who.name == NOBODY else who.name


def actor(request: web.Request) -> Actor:
    """Return what the audit says of who makes a request."""
    who = caller(request)
    name = (
        who.name if who.token_id is None else f"{who.name} ({who.token_id})" if who.name != who.token_id else who.name
    )
    return Actor(name=name, via="http", address=request[REMOTE])


def shown(request: web.Request, job: Job) -> dict[str, Any]:
    """Return a job as JSON; tokens of claims only for those who may work, since whoever has one can end the job."""
    made = json_form.job(job)
    return made if caller(request).may("work") else json_form.without_tokens(made)


async def admitted(request: web.Request, jobs: Iterable[NewJob]) -> list[NewJob]:
    """Return new jobs within the caller's scope, their ``meta`` filled in.

    Raises:
        ForbiddenError: one is for another queue, or says something else in ``meta``.
        InvalidInputError: one, or a child, depends on a job that is not there for this caller.
    """
    scope = caller(request).scope
    made = [scope.admit(job) for job in jobs]
    await _check_awaited(request, [one for job in made for one in awaited(job)])
    return made


async def admitted_group(request: web.Request, group: Children) -> Children:
    """Return the new jobs of a callback as `admitted`; raises the same."""
    made = caller(request).scope.admit_group(group)
    await _check_awaited(request, list(awaited(made)))
    return made


async def admitted_members(request: web.Request, members: Sequence[Member]) -> tuple[Member, ...]:
    """Return the new jobs of a batch as `admitted`; raises the same."""
    scope = caller(request).scope
    made = tuple(replace(one, job=scope.admit(one.job)) for one in members)
    named = {one.ref for one in made}
    ids = [after for one in made for after in one.after if after not in named and is_id(after)]
    await _check_awaited(request, [*ids, *(one for member in made for one in awaited(member.job))])
    return made


async def check_made(request: web.Request, job_ids: Sequence[str]) -> None:
    """Make sure that the caller may still see the jobs that an ``Idempotency-Key`` has made before.

    Raises:
        ConflictError: a job has been given another ``meta`` since.
    """
    scope = caller(request).scope
    if not scope.is_everything and await request.app[RUNTIME].scope_checks.missing(job_ids, scope):
        raise ConflictError("what this Idempotency-Key has made has been changed, and is not for this token any more")


def awaited(group: Children) -> Iterator[str]:
    """Yield the ids of what new jobs depend on, and their children, of whatever generation."""
    if group is None:
        return
    for job in (group,) if isinstance(group, NewJob) else group:
        yield from job.depends_on
        for name in CHILD_FIELDS:
            yield from awaited(getattr(job, name))


async def _check_awaited(request: web.Request, job_ids: list[str]) -> None:
    scope = caller(request).scope
    if scope.is_everything or not job_ids:
        return
    missing = await request.app[RUNTIME].scope_checks.missing(job_ids, scope)
    if missing:
        raise InvalidInputError({"dependsOn": [f"there is no job {one}" for one in missing[:10]]})
