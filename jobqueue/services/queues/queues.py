"""Queues: their configuration, which changes at run time, and their figures."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import getpass
import hashlib
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.preconditions import NONE, Preconditions
from jobqueue.domain.errors import ChangedMeanwhileError, NotFoundError, UnfinishedJobsError, WrongStateError
from jobqueue.domain.insight.audit import Actor, AuditNote
from jobqueue.domain.queues import queue as queues
from jobqueue.domain.queues import queue_form
from jobqueue.domain.work.processing import MOST_PREVIOUS, WebhookConfig
from jobqueue.services.queues.merge_patch import merged, unmasked
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.queues.config import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.services.limits.breakers import Breakers
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.queues.config import ConfigStore
    from jobqueue.store.queues.queues import QueueStore

DEFAULT_TAG: Final = "default"
"""The `etag` of a queue without a configuration."""
_SECRET_BYTES: Final = 32
_TRIES: Final = 20
_SWEPT: Final = 100
Wanted = tuple[dict[str, Any] | None, dict[str, str]]
"""The configuration to store, and by job type the secrets that were made for it."""


class Queues:
    """Reads and changes the configuration of queues.

    Each change is a compare-and-swap, has an entry in the audit, and holds on every process within a second. ``only``
    has conditions on the `etag` of the present configuration; for ``*`` a queue exists if it is configured.
    """

    def __init__(
        self,
        store: ConfigStore,
        jobs: QueueStore,
        manager: JobManager,
        outboxes: Outboxes,
        breakers: Breakers,
        configs: QueueConfigs,
        notifier: Notifier,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._manager = manager
        self._outboxes = outboxes
        self._breakers = breakers
        self._configs = configs
        self._notifier = notifier

    async def names(self, *, after: str = "") -> list[str]:
        """Return the names of all queues that are configured or have jobs, in order, from the one after a name on."""
        await self._configs.refresh()
        return sorted(name for name in {*self._configs.known, *await self._jobs.names()} if name > after)

    async def view(self, name: str, *, urls: bool = False) -> tuple[dict[str, Any], str]:
        """Return a queue's configuration with its figures, as JSON, and the `etag` of the configuration.

        Secrets are masked; ``urls`` shows the URLs of webhooks. ``counts`` has jobs by state, and ``ended`` jobs that
        ended within the last minute and hour. ``oldestPendingAge`` is the wait of the oldest ready job in seconds.
        """
        (config, tag), figures = await asyncio.gather(self.tagged(name), self._jobs.figures(name))
        form = {
            "name": name,
            **queue_form.queue(config, urls=urls),
            "counts": figures.counts,
            "oldestPendingAge": figures.oldest_ready,
            "ended": figures.ended,
            "breakers": await self._breakers.view(name, config),
        }
        return form, tag

    async def trouble(self, name: str) -> tuple[list[dict[str, Any]], float | None]:
        """Return the breakers of a queue as in `view`, and its ``oldestPendingAge``, by the configuration last read."""
        config = self._configs.of(name)
        breakers, oldest = await asyncio.gather(self._breakers.view(name, config), self._jobs.oldest_ready(name))
        return breakers, oldest

    async def tagged(self, name: str) -> tuple[QueueConfig, str]:
        """Return a queue's configuration and its `etag`."""
        stored = await self._store.stored(name)
        return _config(stored), etag(stored)

    async def put(
        self,
        name: str,
        config: Mapping[str, Any],
        *,
        by: Actor | None = None,
        only: Preconditions = NONE,
        dry_run: bool = False,
    ) -> tuple[QueueConfig, dict[str, str]]:
        """Replace the whole configuration of a queue.

        A webhook without a secret, or with a mask in its place, keeps its present secret; without a present secret it
        gets a new one.

        Args:
            name: a checked queue name.
            config: wire form of the fields that differ from the defaults.
            by: for the audit.
            only: conditions on the present configuration.
            dry_run: change nothing, and return the configuration as it would be, without new secrets.

        Returns:
            The configuration, and by job type the new secrets, which are not shown again.

        Raises:
            InvalidInputError: naming each unacceptable field.
            ChangedMeanwhileError: a condition does not hold.
        """

        def want(stored: Any) -> Wanted:
            return _wanted(config, _config(stored))

        return await (self._would(name, want, only) if dry_run else self._change(name, "put", want, by, only))

    async def patch(
        self,
        name: str,
        changes: Mapping[str, Any],
        *,
        by: Actor | None = None,
        only: Preconditions = NONE,
        dry_run: bool = False,
    ) -> tuple[QueueConfig, dict[str, str]]:
        """Change some fields of a configuration as by JSON Merge Patch (RFC 7396): ``null`` gives the default.

        ``dry_run``, the returned values and the errors are those of `put`.
        """

        def want(stored: Any) -> Wanted:
            present = _config(stored)
            shown = queue_form.queue(present, secrets=True)
            known = {field: value for field, value in shown.items() if field in _fields(stored)}
            return _wanted(merged(known, changes), present)

        return await (self._would(name, want, only) if dry_run else self._change(name, "patch", want, by, only))

    async def rotate(
        self, name: str, kind: str, *, by: Actor | None = None, only: Preconditions = NONE
    ) -> tuple[QueueConfig, dict[str, str]]:
        """Give a webhook a new secret; the present secret goes on signing until `put` or `patch` removes it.

        Returns and raises as `put`.

        Raises:
            NotFoundError: no webhook is configured for the job type.
        """

        def want(stored: Any) -> Wanted:
            present = _config(stored)
            old = present.processors.get(kind)
            if not isinstance(old, WebhookConfig):
                raise NotFoundError("webhook for jobs of type", kind)
            new = replace(old, secret=new_secret(), previous_secrets=old.secrets[:MOST_PREVIOUS])
            changed = queue_form.queue(replace(present, processors={**present.processors, kind: new}), secrets=True)
            made = {} if new.secret is None else {kind: new.secret}
            return {**_fields(stored), "processors": changed["processors"]}, made

        return await self._change(name, "rotate", want, by, only)

    async def set_paused(
        self,
        name: str,
        *,
        paused: bool,
        reason: str | None = None,
        by: Actor | None = None,
        only: Preconditions = NONE,
    ) -> QueueConfig:
        """Pause or resume a queue; a resumed queue has its circuit breakers closed.

        Args:
            name: a checked queue name.
            paused: or resume it.
            reason: of the pause, for people; without one a queue that is paused already keeps its reason.
            by: for the audit.
            only: conditions on the present configuration.
        """

        def want(stored: Any) -> Wanted:
            others = {field: value for field, value in _fields(stored).items() if field != "pauseReason"}
            present = _config(stored)
            why = reason or (present.pause_reason if present.paused else None)
            return others | {"paused": paused} | ({"pauseReason": why} if paused and why else {}), {}

        config, _ = await self._change(name, "pause" if paused else "resume", want, by, only)
        if not paused:
            await self._breakers.close(name)
            self._notifier.tell(Wakeup(kind="ready", queue=name))
        return config

    async def delete(
        self, name: str, *, force: bool = False, by: Actor | None = None, only: Preconditions = NONE
    ) -> int:
        """Delete the configuration of a queue; keep its ended jobs.

        Args:
            name: a checked queue name.
            force: kill its unfinished jobs first.
            by: for the audit.
            only: conditions on the present configuration.

        Returns:
            The number of killed jobs.

        Raises:
            UnfinishedJobsError: the queue has unfinished jobs, and ``force`` is false.
            NotFoundError: the queue has no configuration and no unfinished jobs.
            ChangedMeanwhileError: a condition does not hold.
        """
        stored = await self._store.stored(name)
        left = await self._jobs.count_unfinished(name)
        if stored is NOTHING and not left:
            raise NotFoundError("configuration of queue", name)
        _check(name, stored, only)
        if left and not force:
            raise UnfinishedJobsError(name, left)
        if left:
            # Jobs that are not killed yet must not begin to run under the defaults.
            await self.set_paused(name, paused=True, by=by, only=only)
            only = NONE
            left = await self._kill_all(name, f"queue {name} was deleted")
        await self._change(name, "delete", lambda _stored: (None, {}), by, only)
        await self._breakers.close(name, forget=True)
        return left

    async def _kill_all(self, name: str, reason: str) -> int:
        killed = 0
        while await self._jobs.count_unfinished(name):
            ended = await self._jobs.kill_waiting(name, reason)
            killed += ended
            for job_id in await self._jobs.running(name):
                # The job may end, or be deleted, meanwhile.
                with contextlib.suppress(WrongStateError, NotFoundError):
                    await self._manager.kill(job_id, reason)
                    killed += 1
            # Their children may belong to this queue, too, and must not run under its defaults.
            for _ in range(1 + ended // _SWEPT):
                await self._outboxes.run_once()
        self._notifier.tell(Wakeup(kind="all"))
        return killed

    async def _would(
        self, name: str, want: Callable[[Any], Wanted], only: Preconditions
    ) -> tuple[QueueConfig, dict[str, str]]:
        """Return the configuration that a change would make."""
        stored = await self._store.stored(name)
        _check(name, stored, only)
        after, _ = want(stored)
        return _config(after), {}

    async def _change(
        self, name: str, action: str, want: Callable[[Any], Wanted], by: Actor | None, only: Preconditions
    ) -> tuple[QueueConfig, dict[str, str]]:
        for _ in range(_TRIES):
            stored = await self._store.stored(name)
            _check(name, stored, only)
            after, made = want(stored)
            if after == stored or (after is None and stored is NOTHING):
                return _config(stored), made
            note = AuditNote(action=action, by=by or somebody(), before=_shown(stored), after=_shown(after))
            if await self._store.swap(name, stored, after, note):
                await self._configs.refresh()
                self._notifier.tell(Wakeup(kind="config"))
                return _config(after), made
        raise ChangedMeanwhileError("queue", name)


def etag(stored: Any) -> str:
    """Return the tag of a stored configuration, for ``ETag`` and ``If-Match`` (RFC 9110)."""
    if stored is NOTHING:
        return DEFAULT_TAG
    return hashlib.sha256(json.dumps(stored, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _check(name: str, stored: Any, only: Preconditions) -> None:
    only.check("queue", name, etag(stored), exists=stored is not NOTHING)


def new_secret() -> str:
    """Return a fresh secret for a webhook."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _config(stored: Any) -> QueueConfig:
    return queues.read_stored(_fields(stored))


def _fields(stored: Any) -> dict[str, Any]:
    """Return the stored configuration; an empty one if another tool has spoilt it."""
    return stored if isinstance(stored, dict) else {}


def _wanted(wire: Mapping[str, Any], present: QueueConfig) -> Wanted:
    config = queues.read(unmasked(wire, present))
    made: dict[str, str] = {}
    processors = dict(config.processors)
    for kind, processor in processors.items():
        if isinstance(processor, WebhookConfig) and processor.secret is None:
            made[kind] = new_secret()
            processors[kind] = replace(processor, secret=made[kind])
    shown = queue_form.queue(replace(config, processors=processors), secrets=True)
    # The reason of a pause that is over does not come back with the next pause.
    given = {field for field, value in wire.items() if value is not None}
    given -= set() if config.paused else {"pauseReason"}
    return {field: value for field, value in shown.items() if field in given}, made


def _shown(stored: Any) -> dict[str, Any] | None:
    """Return a stored configuration without secrets, for the audit."""
    if stored is NOTHING or stored is None:
        return None
    masked = queue_form.queue(_config(stored))
    return {field: value for field, value in masked.items() if field in _fields(stored)}


def somebody() -> Actor:
    """Return the user of this process, for the audit."""
    try:
        return Actor(name=getpass.getuser(), via="python")
    except (OSError, KeyError):
        return Actor(name="unknown", via="python")
