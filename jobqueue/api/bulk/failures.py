"""Failures in groups of the same mistake, and their requeue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.api.bulk import schemas
from jobqueue.api.bulk.handlers import begin, content
from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.security.caller import actor, caller, shown
from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.bulk.rules import Rules
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.json_form import camel
from jobqueue.domain.steps.step import UNFORGOTTEN
from jobqueue.domain.work.failure import FailureQuery
from jobqueue.services.jobs.job_changes import requeue_changes

if TYPE_CHECKING:
    from aiohttp import web


async def list_failures(request: web.Request) -> web.Response:
    """Group failed and killed jobs by their error."""
    parameters = request[QUERY].copy()
    cursor = parameters.pop("cursor")
    query = FailureQuery(**parameters).at(cursor)
    groups, more = await request.app[RUNTIME].failures.page(query, scope=caller(request).scope)
    following = query.cursor(groups[-1]) if more and groups else None
    return reply({"items": schemas.FailureResponse.many(groups), "next": following})


async def show(request: web.Request) -> web.Response:
    """Return a group of failures with its trace and its newest jobs."""
    fingerprint = check_fingerprint(request.match_info["fingerprint"])
    found = await request.app[RUNTIME].failures.group(fingerprint, scope=caller(request).scope)
    return reply(schemas.FailureGroupResponse.of(found))


async def requeue(request: web.Request) -> web.Response:
    """Requeue a group of failures, or one job of it on trial."""
    fingerprint = check_fingerprint(request.match_info["fingerprint"])
    body = await read_body(request, schemas.FailureRequeueSchema, optional=True)
    dry_run, from_step, patch = body.get("dry_run", False), body.get("from_step", UNFORGOTTEN), body.get("data_patch")
    is_single = _is_single(body)
    runtime, scope = request.app[RUNTIME], caller(request).scope
    query = FailureQuery(fingerprint=fingerprint, queue=body.get("queue"))
    if is_single:
        how: dict[str, Any] = {"from_step": from_step, "data_patch": patch, "by": actor(request), "scope": scope}
        job = await runtime.failures.try_one(query, content(body), **how)
        return reply({"job": shown(request, job)})
    new = NewOperation(
        action=Action.REQUEUE,
        by=actor(request),
        filter={} if query.queue is None else {"queue": query.queue},
        fingerprint=fingerprint,
        changes=requeue_changes(content(body)),
        scope=scope,
        from_step=from_step,
        data_patch=patch,
        rules=Rules.of(body),
    )
    new.check()
    await runtime.failures.latest(query, scope=scope)
    return await begin(request, new, dry_run=dry_run)


def _is_single(body: dict[str, Any]) -> bool:
    """Tell whether one job is to be started and shown; take a ``trial`` that is no number out of the body.

    Raises:
        InvalidInputError: something else is given that is for an operation.
    """
    if not isinstance(body.get("trial"), bool):
        return False
    is_single: bool = body.pop("trial")
    if is_single:
        others = [name for name in ("dry_run", "then", "pace", "stop_after") if body.get(name)]
        told = "cannot be given together with trial: true, which starts one job; say a number of jobs"
        if others:
            raise InvalidInputError({camel(name): [told] for name in others})
    return is_single
