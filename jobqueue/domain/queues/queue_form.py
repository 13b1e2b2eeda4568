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
        config: the configuration.
        secrets: mask nothing.
        urls: do not mask the URLs of webhooks, as for an administrator.
    """
    shown = {camel(item.name): getattr(config, item.name) for item in fields(config)}
    shown["backoff"] = config.backoff.wire()
    shown["rate"] = config.rate and config.rate.wire()
    shown["breaker"] = config.breaker and config.breaker.wire()
    shown["pauseReason"] = config.pause_reason if config.paused else None
    shown["retention"] = dict(config.retention) or None
    processors = config.processors.items()
    shown["processors"] = {kind: processor(each, secrets=secrets, urls=urls) for kind, each in processors}
    return shown


def processor(config: WebhookConfig | CommandConfig, *, secrets: bool = False, urls: bool = False) -> dict[str, Any]:
    """Return a processor's configuration as JSON, with masks as in `queue`."""
    if isinstance(config, CommandConfig):
        return {"kind": "command", "name": config.name}
    url = config.url if secrets or urls else masking.masked_url(config.url)
    shown: dict[str, Any] = {"kind": "webhook", "url": url, "timeout": config.timeout}
    if config.secret is not None:
        shown["secret"] = config.secret if secrets else MASK
    if config.previous_secrets:
        shown["previousSecrets"] = [secret if secrets else MASK for secret in config.previous_secrets]
    if config.headers:
        shown["headers"] = {name: secret if secrets else MASK for name, secret in config.headers.items()}
    return shown
