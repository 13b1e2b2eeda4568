"""The JSON form of the configuration of queues and processors."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from jobqueue.domain.access import masking
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.jobs.json_form import camel
from jobqueue.domain.work.processing import CommandConfig, WebhookConfig

if TYPE_CHECKING:
    from jobqueue.domain.queues.queue import QueueConfig


def queue(config: QueueConfig, *, secrets: bool = False, urls: bool = False) -> dict[str, Any]:
    """Return a queue's configuration as JSON, with masks.

    Args:
        config: of the queue.
        secrets: mask nothing.
        urls: do not mask the URLs of webhooks, as for an administrator.
    """
    shown = {camel(item.name): getattr(config, item.name) for item in fields(config)}
    shown["backoff"] = config.backoff.wire()
    shown["rate"] = config.rate and config.rate.wire()
    shown["breaker"] = config.breaker and config.breaker.wire()
    shown["retention"] = dict(config.retention) or None
    shown["processors"] = {kind: processor(one, secrets=secrets, urls=urls) for kind, one in config.processors.items()}
    return shown


def processor(one: WebhookConfig | CommandConfig, *, secrets: bool = False, urls: bool = False) -> dict[str, Any]:
    """Return a processor's configuration as JSON, with masks as in `queue`."""
    if isinstance(one, CommandConfig):
        return {"kind": "command", "name": one.name}
    url = one.url if secrets or urls else masking.masked_url(one.url)
    shown: dict[str, Any] = {"kind": "webhook", "url": url, "timeout": one.timeout}
    if one.secret is not None:
        shown["secret"] = one.secret if secrets else MASK
    if one.previous_secrets:
        shown["previousSecrets"] = [held if secrets else MASK for held in one.previous_secrets]
    if one.headers:
        shown["headers"] = {name: held if secrets else MASK for name, held in one.headers.items()}
    return shown
