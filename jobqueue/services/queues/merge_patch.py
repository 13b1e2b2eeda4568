"""Merge changes into a configuration, and put secrets back in place of their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain import merge_patch
from jobqueue.domain.access.masking import MASK, masked_url
from jobqueue.domain.work.processing import WebhookConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.work.processing import ProcessorConfig


def merged(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a JSON Merge Patch (RFC 7396) to a configuration; a processor with a ``kind`` replaces the old one."""
    result = merge_patch.merged(present, changes)
    processors, old = changes.get("processors"), present.get("processors")
    if isinstance(processors, dict) and isinstance(old, dict):
        for kind, processor in processors.items():
            if isinstance(processor, dict) and "kind" in processor:
                result["processors"][kind] = merge_patch.merged({}, processor)
    return result


def unmasked(config: Mapping[str, Any], present: QueueConfig) -> dict[str, Any]:
    """Return a configuration with the present secrets and URLs in place of their masks."""
    processors = config.get("processors")
    if not isinstance(processors, dict):
        return dict(config)
    real = {
        kind: _processor(processor, present.processors.get(kind)) if isinstance(processor, dict) else processor
        for kind, processor in processors.items()
    }
    return {**config, "processors": real}


def _processor(sent: Mapping[str, Any], present: ProcessorConfig | None) -> dict[str, Any]:
    config = dict(sent)
    old = present if isinstance(present, WebhookConfig) else None
    if config.get("secret", MASK) in (None, MASK):
        config.pop("secret", None)
        if old is not None and old.secret is not None and config.get("kind") == "webhook":
            config["secret"] = old.secret
    if old is not None and config.get("url") == masked_url(old.url):
        config["url"] = old.url
    if isinstance(config.get("previousSecrets"), list) and old is not None:
        config["previousSecrets"] = [
            old.previous_secrets[place] if secret == MASK and place < len(old.previous_secrets) else secret
            for place, secret in enumerate(config["previousSecrets"])
        ]
    if isinstance(config.get("headers"), dict) and old is not None:
        config["headers"] = {
            name: old.headers.get(name, value) if value == MASK else value for name, value in config["headers"].items()
        }
    return config
