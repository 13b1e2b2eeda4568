"""Signals over HTTP: from people and other programs to jobs."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.idempotency_key import keyed_request
from jobqueue.api.queues.handlers import path_queue
from jobqueue.api.security.caller import actor, caller
from jobqueue.api.steps import schemas
from jobqueue.domain.errors import InvalidInputError, NotFoundError
from jobqueue.domain.steps.step import check_name
from jobqueue.domain.values.checks import check_key

if TYPE_CHECKING:
    from aiohttp import web


async def send(request: web.Request) -> web.Response:
    """Send a signal to a job, which keeps the signal until one of its steps takes it."""
    return await _send(request, path_id(request))


async def send_by_key(request: web.Request) -> web.Response:
    """Send a signal to the unfinished job of a queue that has a key."""
    queue, key = path_queue(request), check_key(request.match_info["key"])
    runtime = request.app[RUNTIME]
    job_id = await runtime.signals.holder(queue, key)
    scope = caller(request).scope
    if not scope.is_everything and not await runtime.scope_checks.has_job(job_id, scope):
        raise NotFoundError("unfinished job with the key", key)
    return await _send(request, job_id)


async def _send(request: web.Request, job_id: str) -> web.Response:
    body = await read_body(request, schemas.SignalSchema, optional=True)
    keyed, signal_id = await keyed_request(request, {}), body.get("id")
    if keyed is not None:
        if signal_id is not None:
            raise InvalidInputError({"id": ["cannot be given together with Idempotency-Key: leave one of them out"]})
        signal_id = f"key:{hashlib.sha256(keyed.key.encode()).hexdigest()[:32]}"
    name, signals = request.match_info["name"], request.app[RUNTIME].signals
    question = body.get("question")
    if question is not None:
        check_name(question, "question")
    sent = await signals.send(
        job_id, name, body.get("value"), signal_id=signal_id, question=question, by=actor(request)
    )
    return reply(schemas.SentSignalResponse.of(sent))
