"""Test a webhook by a signed ping, which is no job."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson

from jobqueue.domain.access.masking import MASK, without_query
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.work.processing import LONGEST_PING
from jobqueue.domain.work.verdict import Failure
from jobqueue.processors.webhooks import replies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.work.processing import WebhookConfig
    from jobqueue.processors.webhooks.replies import Reply
    from jobqueue.processors.webhooks.webhook import WebhookClient

_SHORTEST_SECRET: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class PingAnswer:
    """The answer to a ping.

    Attributes:
        id: the ``webhook-id``, another one each time.
        status: of the reply; ``None`` without a reply.
        seconds: from the request to the end of the reply.
        excerpt: the first 2 KiB of the reply.
        error: the reason why a job would have failed by this status; ``None`` for 200 to 299.
    """

    id: str
    status: int | None
    seconds: float
    excerpt: str
    error: JobError | None


async def ping(client: WebhookClient, config: WebhookConfig, body: Mapping[str, Any]) -> PingAnswer:
    """Send a ping as a job would be sent: with the same checks of the address, headers and signature.

    Args:
        client: started.
        config: of the webhook.
        body: JSON.
    """
    identifier = f"msg_ping_{uuid4().hex}"
    clock = asyncio.get_running_loop().time
    began = clock()
    hasty = replace(config, timeout=min(config.timeout, LONGEST_PING))
    reply = await client.processor(hasty, "").exchange(identifier, lambda: orjson.dumps(body))
    seconds = round(clock() - began, 3)
    if isinstance(reply, Failure):
        error = JobError(kind=reply.error.kind, message=_masked(reply.error.message, config))
        return PingAnswer(id=identifier, status=None, seconds=seconds, excerpt="", error=error)
    return PingAnswer(
        id=identifier,
        status=reply.status,
        seconds=seconds,
        excerpt=_masked(replies.excerpt(reply), config),
        error=_error(reply, config),
    )


def _error(reply: Reply, config: WebhookConfig) -> JobError | None:
    if reply.is_success and reply.fault is None:
        return None
    verdict = reply.fault if reply.is_success else replies.by_status(reply, datetime.now(UTC))
    error = getattr(verdict, "error", None) or JobError(kind="http", message=f"the webhook answered {reply.status}")
    return JobError(kind=error.kind, message=_masked(error.message, config))


def _masked(text: str, config: WebhookConfig) -> str:
    """Return a text of the receiver without the query of the URL, the secrets and the values of headers."""
    text = without_query(text, config.url)
    for secret in (*config.secrets, *config.headers.values()):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    return text
