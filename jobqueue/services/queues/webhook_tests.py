"""Tests of the webhooks of queues: a signed ping to the receiver, and the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import NotFoundError, OneAtATimeError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.processing import LONGEST_PING, WebhookConfig
from jobqueue.processors.webhooks.ping import ping
from jobqueue.processors.webhooks.webhook import WebhookClient

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.processors.webhooks.ping import PingAnswer
    from jobqueue.services.insight.audit import Audit
    from jobqueue.services.queues.queues import Queues
    from jobqueue.settings import Settings
    from jobqueue.store.mongo.clock import ServerClock

ACTION: Final = "test"
"""The action of the entries in the audit."""
REST_SECONDS: Final = 1.0
"""Seconds after a test before the same webhook is tested again in this process."""
_MOST: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTest:
    """A test of the webhook of a type of job."""

    type: str
    at: datetime
    answer: PingAnswer


class WebhookTests:
    """Tests webhooks, each by one request at a time, and by at most one a second."""

    def __init__(self, queues: Queues, audit: Audit, clock: ServerClock, settings: Settings) -> None:
        self._queues = queues
        self._audit = audit
        self._clock = clock
        self._settings = settings
        self._busy: dict[tuple[str, str], float] = {}

    async def run(self, queue: str, kind: str, *, by: Actor | None = None) -> WebhookTest:
        """Send a ping to the webhook of a job type, and return the answer.

        Args:
            queue: a checked queue name.
            kind: the job type for which the webhook is configured, or ``*``.
            by: for the audit.

        Raises:
            NotFoundError: no webhook is configured for the job type.
            OneAtATimeError: a test of this webhook goes on or has just ended, or too many others go on.
        """
        config, _ = await self._queues.tagged(queue)
        hook = config.processors.get(kind)
        if not isinstance(hook, WebhookConfig):
            raise NotFoundError("webhook for jobs of type", kind)
        now = await self._clock.now()
        self._begin((queue, kind), min(hook.timeout, LONGEST_PING))
        try:
            async with self._audit.noting(("queue", queue), ACTION, by) as noted:
                noted.begin()
                settings = self._settings
                async with WebhookClient(allow=settings.webhook_allow, ports=settings.webhook_ports) as client:
                    answer = await ping(client, hook, _body(queue, kind, now))
                noted.after = {"type": kind, "status": answer.status, "error": answer.error and answer.error.kind}
        finally:
            self._busy[queue, kind] = _time() + REST_SECONDS
        return WebhookTest(type=kind, at=now, answer=answer)

    def _begin(self, key: tuple[str, str], seconds: float) -> None:
        now = _time()
        self._busy = {other: until for other, until in self._busy.items() if until > now}
        if key in self._busy:
            left = self._busy[key] - now
            raise OneAtATimeError("this webhook is being tested, or was tested a moment ago", left)
        if len(self._busy) >= _MOST:
            raise OneAtATimeError("too many webhooks are being tested", REST_SECONDS)
        self._busy[key] = now + seconds + REST_SECONDS


def _body(queue: str, kind: str, now: datetime) -> dict[str, Any]:
    return {"event": "ping", "queue": queue, "type": kind, "at": json_form.date(now)}


def _time() -> float:
    return asyncio.get_running_loop().time()
