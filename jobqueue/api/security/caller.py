"""The caller of a request: its view of jobs, its scope, and its name in the audit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue.api.http.keys import CALLER, PERSON, REMOTE, RUNTIME
from jobqueue.domain.access.access import CHILD_FIELDS, NOBODY
from jobqueue.domain.errors import ConflictError, InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aiohttp import web

    from jobqueue.domain.access.access import Caller
    from jobqueue.domain.jobs.job import Children, Job
    from jobqueue.domain.workflow.batch import Member


def caller(request: web.Request) -> Caller:
    """Return the caller: ``admin`` with the admin token, ``nobody`` where none is needed."""
    return request[CALLER]


def slow_search_key(request: web.Request) -> str | None:
    """Return the key under which slow searches of a caller are counted; ``None`` for a caller without a token."""
    by = caller(request)
    if by.token_id is not None:
        return f"token {by.token_id}"
    return None if by.name == NOBODY else by.name


def actor(request: web.Request) -> Actor:
    """Return the caller's name and address for the audit, or the person at the command line."""
    if (person := request.app.get(PERSON)) is not None:
        return person
    by = caller(request)
    name = by.name if by.token_id in {None, by.name} else f"{by.name} ({by.token_id})"
    return Actor(name=name, via="http", address=request[REMOTE])


def shown(request: web.Request, job: Job) -> dict[str, Any]:
    """Return a job as JSON; only the role ``work`` sees tokens of claims, as a token is enough to end the job."""
    form = json_form.job(job)
    return form if caller(request).may("work") else json_form.without_tokens(form)


async def admitted(request: web.Request, jobs: Iterable[NewJob]) -> list[NewJob]:
    """Return new jobs within the caller's scope, their ``meta`` filled in.

    Raises:
        ForbiddenError: a job is for another queue, or has another ``meta``.
        InvalidInputError: a job or a child depends on a job that is not there for this caller.
    """
    scope = caller(request).scope
    if scope.is_everything:
        return list(jobs)
    new_jobs = [scope.admit(job) for job in jobs]
    await _check_awaited(request, [job_id for job in new_jobs for job_id in awaited(job)])
    return new_jobs


async def admitted_group(request: web.Request, group: Children) -> Children:
    """Return the new jobs of a callback as `admitted`; raises the same."""
    children = caller(request).scope.admit_group(group)
    await _check_awaited(request, list(awaited(children)))
    return children


async def admitted_members(request: web.Request, members: Sequence[Member]) -> tuple[Member, ...]:
    """Return the new jobs of a batch as `admitted`; raises the same."""
    scope = caller(request).scope
    new = tuple(replace(member, job=scope.admit(member.job)) for member in members)
    refs = {member.ref for member in new}
    ids = [after for member in new for after in member.after if after not in refs and is_id(after)]
    await _check_awaited(request, [*ids, *(job_id for member in new for job_id in awaited(member.job))])
    return new


async def check_made(request: web.Request, job_ids: Sequence[str]) -> None:
    """Check that the caller may still see the jobs that an ``Idempotency-Key`` has made before.

    Raises:
        ConflictError: a job has another ``meta`` by now.
    """
    scope = caller(request).scope
    if not scope.is_everything and await request.app[RUNTIME].scope_checks.missing(job_ids, scope):
        raise ConflictError("what this Idempotency-Key has made has been changed, and is not for this token any more")


def awaited(group: Children) -> Iterator[str]:
    """Yield the ids of the jobs that new jobs and all their descendants depend on."""
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
        raise InvalidInputError({"dependsOn": [f"there is no job {job_id}" for job_id in missing[:10]]})
