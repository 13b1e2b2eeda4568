"""Queues: configuration, figures, pause and resume."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.json_body import read_body, read_object
from jobqueue.api.http.json_reply import JSON, MERGE_PATCH, page_reply, reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.preconditions import answered, etag, preconditions
from jobqueue.api.insight.schemas import ChangeResponse
from jobqueue.api.queues.schemas import (
    PauseSchema,
    QueueSchema,
    QueueUseResponse,
    QueueWhyResponse,
    RotateSchema,
    TestWebhookSchema,
)
from jobqueue.api.schemas.fields import sift
from jobqueue.api.schemas.queries import name_cursor
from jobqueue.api.security.caller import actor, caller
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.queues import queue, queue_form
from jobqueue.domain.queues.queue import check_reason
from jobqueue.domain.values.checks import check_queue, gather
from jobqueue.services.queues.queues import DEFAULT_TAG
from jobqueue.services.queues.webhook_tests import ACTION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiohttp import web

    from jobqueue.domain.queues.queue import QueueConfig

PATCHES: Final = (JSON, MERGE_PATCH)
"""The media types of a change of a queue."""
_READ_ONLY: Final = frozenset({"name", "counts", "oldestPendingAge", "ended", "breakers"})


async def list_queues(request: web.Request) -> web.Response:
    """Return all queues that are configured or have jobs, by name."""
    most, after = request[QUERY]["limit"], request[QUERY]["cursor"]
    queues = request.app[RUNTIME].queues
    scope = caller(request).scope
    names = [name for name in await queues.names(after=after) if scope.has_queue(name)]
    items = await asyncio.gather(*(queues.view(name, urls=_urls(request)) for name in names[:most]))
    more = name_cursor(names[most - 1]) if len(names) > most else None
    return reply({"items": [item for item, _ in items], "next": more})


async def show(request: web.Request) -> web.Response:
    """Return a queue's configuration, with masks, and its figures; an unconfigured queue has the defaults."""
    name = path_queue(request)
    item, tag = await request.app[RUNTIME].queues.view(name, urls=_urls(request))
    return answered(("queue", name), tag, preconditions(request), item, exists=tag != DEFAULT_TAG)


async def put(request: web.Request) -> web.Response:
    """Replace a queue's configuration; only this reply shows a secret that is made now.

    With ``dryRun`` nothing changes: the reply is the configuration as it would be.
    """
    name = path_queue(request)
    body = await _read(request)
    _check(body)
    queues = request.app[RUNTIME].queues
    only, is_dry = preconditions(request), request[QUERY]["dry_run"]
    config, secrets = await queues.put(name, body, by=actor(request), only=only, dry_run=is_dry)
    return await _changed(request, name, config, secrets)


async def patch(request: web.Request) -> web.Response:
    """Change a queue's configuration by a JSON Merge Patch (RFC 7396); ``null`` gives the default.

    With ``dryRun`` nothing changes: the reply is the configuration as it would be.
    """
    name = path_queue(request)
    body = await _read(request, media_types=PATCHES)
    queues = request.app[RUNTIME].queues
    only, is_dry = preconditions(request), request[QUERY]["dry_run"]
    config, secrets = await queues.patch(name, body, by=actor(request), only=only, dry_run=is_dry)
    return await _changed(request, name, config, secrets)


async def delete(request: web.Request) -> web.Response:
    """Delete a queue's configuration; unfinished jobs prevent that unless ``force`` kills them."""
    name = path_queue(request)
    queues = request.app[RUNTIME].queues
    killed = await queues.delete(name, force=request[QUERY]["force"], by=actor(request), only=preconditions(request))
    return reply({"name": name, "killed": killed})


async def why(request: web.Request) -> web.Response:
    """Return the reasons why no job of a queue starts, those of the first jobs of each type."""
    explainer = request.app[RUNTIME].queue_explainer
    return reply(QueueWhyResponse.of(await explainer.why(path_queue(request), caller(request).scope)))


async def groups(request: web.Request) -> web.Response:
    """Return who uses the limits of a queue and who waits for them, by the values of its ``limitBy``."""
    uses = request.app[RUNTIME].group_uses
    return reply(QueueUseResponse.of(await uses.of(path_queue(request), request[QUERY]["limit"])))


async def rotate_secret(request: web.Request) -> web.Response:
    """Give a webhook a new secret, shown only now; the present secret goes on signing beside it."""
    name = path_queue(request)
    body = await read_body(request, RotateSchema)
    queues = request.app[RUNTIME].queues
    config, secrets = await queues.rotate(name, body["type"], by=actor(request), only=preconditions(request))
    return await _changed(request, name, config, secrets)


async def test_webhook(request: web.Request) -> web.Response:
    """Send a signed ping to a webhook, and return its answer; the ping is no job."""
    name = path_queue(request)
    body = await read_body(request, TestWebhookSchema)
    test = await request.app[RUNTIME].webhook_tests.run(name, body["type"], by=actor(request))
    answer = test.answer
    error = None if answer.error is None else {"kind": answer.error.kind, "message": answer.error.message}
    return reply(
        {
            "type": test.type,
            "id": answer.id,
            "at": json_form.date(test.at),
            "ok": answer.error is None,
            "status": answer.status,
            "seconds": answer.seconds,
            "excerpt": answer.excerpt,
            "error": error,
        }
    )


async def changes(request: web.Request) -> web.Response:
    """Return the changes of a queue's configuration, newest first."""
    name = path_queue(request)
    most, before = request[QUERY]["limit"], request[QUERY]["cursor"]
    entries = await request.app[RUNTIME].audit.store.page("queue", name, before=before, limit=most + 1, but=ACTION)
    return page_reply(entries, most, ChangeResponse.of, lambda entry: entry.id)


async def pause(request: web.Request) -> web.Response:
    """Pause a queue: no job of it is claimed."""
    path_queue(request)
    reason = (await read_body(request, PauseSchema, optional=True)).get("reason")
    return await _set_paused(request, paused=True, reason=None if reason is None else check_reason(reason))


async def resume(request: web.Request) -> web.Response:
    """Resume a queue, and close its circuit breakers."""
    return await _set_paused(request, paused=False)


def path_queue(request: web.Request) -> str:
    """Return the queue name in the path.

    Raises:
        InvalidInputError: it is none.
    """
    return check_queue(request.match_info["queue"])


async def _read(request: web.Request, media_types: Collection[str] = (JSON,)) -> dict[str, Any]:
    """Return the configuration in a body; clients may send back the read-only fields of `show`."""
    body = await read_object(request, media_types=media_types)
    return {name: value for name, value in body.items() if name not in _READ_ONLY}


def _check(body: Mapping[str, Any]) -> None:
    """Make sure that a configuration has known fields of the right kinds.

    Raises:
        InvalidInputError: naming the values of other fields that cannot be used, too.
    """
    _, problems = sift(QueueSchema, body)
    if problems:
        # Only the stored configuration tells whether secrets of processors can be used.
        rest = {name: value for name, value in body.items() if name not in {*problems, "processors"}}
        gather(problems, queue.read, rest)
        raise InvalidInputError(problems)


async def _set_paused(request: web.Request, *, paused: bool, reason: str | None = None) -> web.Response:
    name = path_queue(request)
    queues = request.app[RUNTIME].queues
    only = preconditions(request)
    config = await queues.set_paused(name, paused=paused, reason=reason, by=actor(request), only=only)
    return await _changed(request, name, config, {})


def _urls(request: web.Request) -> bool:
    """Return true if the caller may read the whole URLs of webhooks."""
    return caller(request).may("admin")


async def _changed(request: web.Request, name: str, config: QueueConfig, secrets: Mapping[str, str]) -> web.Response:
    """Return the configuration that was written, with the secrets that were made for it."""
    form = queue_form.queue(config, urls=_urls(request))
    for job_type, secret in secrets.items():
        form["processors"][job_type]["secret"] = secret
    present, tag = await request.app[RUNTIME].queues.tagged(name)
    # The tag of a later configuration would let the caller overwrite that unseen.
    return reply({"name": name, **form}, headers=etag(tag) if present == config else {})
