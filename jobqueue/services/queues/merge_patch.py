"""Merging changes into a configuration, and putting secrets back where only their mask was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.access.masking import MASK, masked_url
from jobqueue.domain.work.processing import WebhookConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.work.processing import ProcessorConfig


def merged(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a JSON Merge Patch (RFC 7396) to a configuration; a processor with a ``kind`` replaces the old one."""
    result = _merged(present, changes)
    wanted, old = changes.get("processors"), present.get("processors")
    if isinstance(wanted, dict) and isinstance(old, dict):
        for kind, one in wanted.items():
            if isinstance(one, dict) and "kind" in one:
                result["processors"][kind] = _merged({}, one)
    return result


def _merged(present: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(present)
    for name, change in changes.items():
        old = result.get(name)
        if change is None:
            result.pop(name, None)
        elif isinstance(change, dict):
            result[name] = _merged(old if isinstance(old, dict) else {}, change)
        else:
            result[name] = change
    return result


def unmasked(given: Mapping[str, Any], present: QueueConfig) -> dict[str, Any]:
    """Return a configuration with the present secrets and URLs in place of their masks."""
    processors = given.get("processors")
    if not isinstance(processors, dict):
        return dict(given)
    real = {
        kind: _processor(one, present.processors.get(kind)) if isinstance(one, dict) else one
        for kind, one in processors.items()
    }
    return {**given, "processors": real}


def _processor(given: Mapping[str, Any], present: ProcessorConfig | None) -> dict[str, Any]:
    wanted = dict(given)
    old = present if isinstance(present, WebhookConfig) else None
    if wanted.get("secret", MASK) in (None, MASK):
        wanted.pop("secret", None)
        if old is not None and old.secret is not None and wanted.get("kind") == "webhook":
            wanted["secret"] = old.secret
    if old is not None and wanted.get("url") == masked_url(old.url):
        wanted["url"] = old.url
    if isinstance(wanted.get("previousSecrets"), list) and old is not None:
        wanted["previousSecrets"] = [
            old.previous_secrets[place] if one == MASK and place < len(old.previous_secrets) else one
            for place, one in enumerate(wanted["previousSecrets"])
        ]
    if isinstance(wanted.get("headers"), dict) and old is not None:
        wanted["headers"] = {
            name: old.headers.get(name, value) if value == MASK else value for name, value in wanted["headers"].items()
        }
    return wanted
