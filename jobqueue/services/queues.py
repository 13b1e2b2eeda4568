"""Configuring queues at run time."""

from __future__ import annotations

import base64
import secrets
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain import backoff as backoffs
from jobqueue.domain import queue as queues
from jobqueue.domain import wire
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.queue import QueueConfig, WebhookConfig
from jobqueue.services.wake import Wake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.queue import ProcessorConfig
    from jobqueue.services.config import QueueConfigs
    from jobqueue.services.wake import Wakeups
    from jobqueue.store.config import ConfigStore

_FIELDS: Final = {wire.camel(item.name): item.name for item in fields(QueueConfig)}
_SECRET_BYTES: Final = 32


class Queues:
    """Reads and writes the configuration of queues."""

    def __init__(self, store: ConfigStore, configs: QueueConfigs, wakeups: Wakeups) -> None:
        self._store = store
        self._configs = configs
        self._wakeups = wakeups

    async def get(self, name: str) -> QueueConfig:
        """Return a queue's configuration; one that nobody configured has the defaults."""
        await self._configs.refresh()
        return self._configs.of(name)

    async def put(self, name: str, given: Mapping[str, Any]) -> tuple[QueueConfig, dict[str, str]]:
        """Replace the whole configuration of a queue.

        A webhook without a secret, or with the mask that is shown instead of one, keeps the secret it has, and gets a
        new one if it has none.

        Args:
            name: a checked queue name.
            given: wire form, only the fields that are to differ from the defaults.

        Returns:
            The configuration, and by job type the secrets that were made now: they are not shown again.

        Raises:
            InvalidInputError: naming each unacceptable field.
        """
        await self._configs.refresh()
        config = _read(given, self._configs.of(name))
        made: dict[str, str] = {}
        processors = dict(config.processors)
        for kind, one in processors.items():
            if isinstance(one, WebhookConfig) and one.secret is None:
                made[kind] = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
                processors[kind] = replace(one, secret=made[kind])
        config = replace(config, processors=processors)
        stored = {field: value for field, value in wire.queue(config, secrets=True).items() if field in given}
        await self._store.replace(name, stored)
        await self._changed()
        return config, made

    async def set_paused(self, name: str, *, paused: bool) -> QueueConfig:
        """Pause or resume a queue; nothing else of it changes."""
        config = await self._store.set_paused(name, paused=paused)
        await self._changed()
        return config

    async def _changed(self) -> None:
        await self._configs.refresh()
        self._wakeups.tell(Wake(kind="config"))


def _read(given: Mapping[str, Any], present: QueueConfig) -> QueueConfig:
    problems: Problems = {field: ["is not a known field"] for field in given if field not in _FIELDS}
    values = {_FIELDS[field]: value for field, value in given.items() if field in _FIELDS}
    for name in ("paused", "on_success_delete"):
        if not isinstance(values.get(name, False), bool):
            problems[wire.camel(name)] = ["must be true or false"]
    try:
        if "backoff" in values:
            values["backoff"] = backoffs.parse(values["backoff"])
    except InvalidInputError as error:
        problems.update(error.problems)
    processors: dict[str, ProcessorConfig] = {}
    for kind, one in values.get("processors", {}).items():
        try:
            processors[kind] = _processor(one, f"processors.{kind}", present.processors.get(kind))
        except InvalidInputError as error:
            problems.update(error.problems)
    try:
        config = QueueConfig(**{**values, "backoff": values.get("backoff", backoffs.DEFAULT), "processors": processors})
    except InvalidInputError as error:
        problems.update(error.problems)
    except TypeError:
        raise InvalidInputError(problems) from None
    if problems:
        raise InvalidInputError(problems)
    return config


def _processor(given: Mapping[str, Any], path: str, present: ProcessorConfig | None) -> ProcessorConfig:
    wanted = dict(given)
    old = present if isinstance(present, WebhookConfig) else None
    if wanted.get("secret", wire.MASK) in {None, wire.MASK}:
        wanted.pop("secret", None)
        if old is not None and old.secret is not None and wanted.get("kind") == "webhook":
            wanted["secret"] = old.secret
    if isinstance(wanted.get("headers"), dict):
        wanted["headers"] = {
            name: old.headers.get(name, value) if old and value == wire.MASK else value
            for name, value in wanted["headers"].items()
        }
    return queues.processor(wanted, path)
