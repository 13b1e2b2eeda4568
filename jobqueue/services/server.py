"""What a service needs besides its runtime: lanes for webhooks, and an embedded MongoDB that is kept alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.queue import ANY_TYPE, CommandConfig, QueueConfig, WebhookConfig
from jobqueue.journal import get_logger
from jobqueue.services.dispatcher import Lane
from jobqueue.store.embedded import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.job import Job
    from jobqueue.domain.verdict import Processor
    from jobqueue.services.config import QueueConfigs
    from jobqueue.services.runtime import Runtime

log = get_logger(__name__)
LOOK_SECONDS: Final = 2.0
"""Between looks at the embedded MongoDB."""


class Webhooks(Protocol):
    """Makes processors that send jobs to webhooks."""

    def processor(self, config: WebhookConfig, token: str) -> Processor:
        """Return the processor for one claimed job."""


class ConfiguredLanes:
    """The lanes that the present configuration asks for; they follow its changes.

    Args:
        configs: of all queues.
        webhooks: sends the jobs.
    """

    def __init__(self, configs: QueueConfigs, webhooks: Webhooks) -> None:
        self._configs = configs
        self._webhooks = webhooks
        self._known: Mapping[str, QueueConfig] = {}
        self._lanes: Sequence[Lane] = ()

    def __call__(self) -> Sequence[Lane]:
        """Return the lanes."""
        known = self._configs.known
        if known is not self._known:
            if known != self._known:
                self._lanes = webhook_lanes(known, self._webhooks)
            self._known = known
        return self._lanes


class Revival:
    """Starts the embedded MongoDB again if it has died."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run_once(self) -> None:
        """Look whether it answers, and use it anew if not: that starts it if it does not run.

        Raises:
            DatabaseError: it cannot be started, or not where this process would find it.
        """
        used = self._runtime.embedded
        if used is None:
            return
        try:
            await self._runtime.database.ping()
        except DatabaseUnavailableError as error:
            log.warning("the embedded MongoDB does not answer", error=str(error))
        else:
            return
        settings = self._runtime.settings
        anew = await asyncio.to_thread(EmbeddedMongo.acquire, settings.data_dir, mongod=settings.mongod)
        if anew.pid == used.pid:
            # It was only slow.
            await asyncio.to_thread(anew.release)
            return
        if anew.url != used.url:
            await asyncio.to_thread(anew.release)
            raise DatabaseUnavailableError(f"its port is taken, so it runs at {anew.url} now: restart this process")
        self._runtime.embedded = anew
        await asyncio.to_thread(used.release)
        log.info("the embedded MongoDB runs again", pid=anew.pid)


def webhook_lanes(known: Mapping[str, QueueConfig], webhooks: Webhooks) -> list[Lane]:
    """Return a lane for each queue that has webhooks: of the types named, or of any if there is one for all others."""
    lanes = []
    for queue, config in sorted(known.items()):
        types = _types(queue, config)
        if types != ():
            lanes.append(Lane(queue=queue, types=types, processor=_sender(config, webhooks)))
    return lanes


def _types(queue: str, config: QueueConfig) -> tuple[str, ...] | None:
    named = [kind for kind, one in config.processors.items() if isinstance(one, WebhookConfig)]
    commands = [kind for kind, one in config.processors.items() if isinstance(one, CommandConfig)]
    if ANY_TYPE in named and not commands:
        return None
    if ANY_TYPE in named:
        # A claim takes listed types or any: with "*" it would take the jobs of the commands as well.
        log.warning("the webhook for * takes no jobs beside commands: name its types", queue=queue, commands=commands)
    return tuple(sorted(kind for kind in named if kind != ANY_TYPE))


def _sender(config: QueueConfig, webhooks: Webhooks) -> Callable[[Job], Processor]:
    """Return what finds the processor of a job in the configuration it was claimed under."""

    def processor(job: Job) -> Processor:
        found = config.processor_for(job.type)
        if not isinstance(found, WebhookConfig) or job.claim is None:
            raise TypeError(f"job {job.id} was claimed for a webhook and has none")
        return webhooks.processor(found, job.claim.token)

    return processor
