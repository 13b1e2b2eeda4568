"""Failures in groups of the same mistake, and starting them again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.api.bulk import schemas
from jobqueue.api.bulk.handlers import begin, content
from jobqueue.api.http.json_body import read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.schemas import fields
from jobqueue.api.security.caller import actor, caller, shown
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.work.failure import FailureQuery, check_fingerprint
from jobqueue.services.jobs.job_changes import requeue_changes

if TYPE_CHECKING:
    from aiohttp import web

_REQUEUE: Final = schemas.FailureRequeueSchema()


async def list_failures(request: web.Request) -> web.Response:
    """Group what has failed or was killed by what went wrong."""
    given = request[QUERY]
    query = FailureQuery(
        queue=given.get("queue"),
        type=given.get("type"),
        states=given["state"],
        inserted_after=given.get("inserted_after"),
        inserted_before=given.get("inserted_before"),
        ended_after=given.get("ended_after"),
        sort=given["sort"],
        limit=given["limit"],
    ).at(given["cursor"])
    groups, more = await request.app[RUNTIME].failures.page(query, scope=caller(request).scope)
    cursor = query.cursor(groups[-1]) if more and groups else None
    return reply({"items": [one.wire() for one in groups], "next": cursor})


async def requeue(request: web.Request) -> web.Response:
    """Start a whole group of failures again, or one of it on trial."""
    mark = check_fingerprint(request.match_info["fingerprint"])
    given = fields.load(_REQUEUE, await read_object(request, optional=True))
    trial, dry_run = given.get("trial", False), given.get("dry_run", False)
    if trial and dry_run:
        raise InvalidInputError({"dryRun": ["cannot be given together with trial"]})
    runtime, scope = request.app[RUNTIME], caller(request).scope
    query = FailureQuery(fingerprint=mark, queue=given.get("queue"))
    if trial:
        job = await runtime.failures.try_one(query, content(given), by=actor(request), scope=scope)
        return reply({"job": shown(request, job)})
    await runtime.failures.latest(query, scope=scope)
    new = NewOperation(
        action=Action.REQUEUE,
        by=actor(request),
        filter={} if query.queue is None else {"queue": query.queue},
        fingerprint=mark,
        changes=requeue_changes(content(given)),
        scope=scope,
    )
    return await begin(request, new, dry_run=dry_run)
