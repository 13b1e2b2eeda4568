"""Parts of a server besides its runtime: lanes for webhooks and commands, and restarts of the embedded MongoDB."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.work.processing import ANY_TYPE, ProcessorConfig, WebhookConfig
from jobqueue.journal import get_logger
from jobqueue.processors.commands.command import CommandProcessor
from jobqueue.services.work.lanes import Lane
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.work.verdict import Processor
    from jobqueue.processors.commands.commands_file import Command
    from jobqueue.processors.webhooks.webhook import WebhookClient
    from jobqueue.services.application import Runtime
    from jobqueue.services.signals.config import QueueConfigs

log = get_logger(__name__)
LOOK_SECONDS: Final = 2.0
"""Seconds between looks at the embedded MongoDB."""


class LocalProcessors:
    """The processors of the queues' configurations that this process can run.

    Args:
        webhooks: sends jobs.
        commands: of this process's own command file, by name; other commands are left to other processes.
        url: of this process's API, for the commands.
    """

    def __init__(self, webhooks: WebhookClient, commands: Mapping[str, Command], url: str | None) -> None:
        self._webhooks = webhooks
        self._commands = commands
        self._url = url

    def has(self, config: ProcessorConfig) -> bool:
        """Return true if this process can run such jobs."""
        return isinstance(config, WebhookConfig) or config.name in self._commands

    def stop_seconds(self, config: ProcessorConfig) -> float:
        """Return the seconds that a run may take to end after its time is over."""
        if isinstance(config, WebhookConfig):
            return self._webhooks.stop_seconds
        return CommandProcessor.slowest_end(self._commands[config.name])

    def make(self, config: ProcessorConfig, token: str) -> Processor:
        """Return the processor for one claimed job."""
        if isinstance(config, WebhookConfig):
            return self._webhooks.processor(config, token)
        return CommandProcessor(self._commands[config.name], token=token, url=self._url)


class ConfiguredLanes:
    """The lanes of the present configuration, for the processors that this process can run."""

    def __init__(self, configs: QueueConfigs, local: LocalProcessors) -> None:
        self._configs = configs
        self._local = local
        self._known: Mapping[str, QueueConfig] = {}
        self._lanes: Sequence[Lane] = ()

    def __call__(self) -> Sequence[Lane]:
        """Return the lanes."""
        known = self._configs.known
        if known is not self._known:
            if known != self._known:
                self._lanes = lanes(known, self._local)
            self._known = known
        return self._lanes


class EmbeddedRestarter:
    """Restarts the embedded MongoDB after its death."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run_once(self) -> None:
        """Ask MongoDB for a sign of life; without one acquire the embedded MongoDB anew, which starts it if need be.

        Raises:
            DatabaseError: MongoDB cannot be started, or only at another address.
        """
        used = self._runtime.embedded
        if used is None:
            return
        try:
            await self._runtime.database.ping()
        except DatabaseUnavailableError as error:
            log.warning("embedded MongoDB unreachable", error=str(error))
        else:
            return
        settings = self._runtime.settings
        anew = await asyncio.to_thread(EmbeddedMongo.acquire, settings.data_dir, mongod=settings.mongod)
        if anew.pid == used.pid:
            # The server was only slow.
            await asyncio.to_thread(anew.release)
            return
        if anew.url != used.url:
            await asyncio.to_thread(anew.release)
            raise DatabaseUnavailableError(f"its port is taken, so it runs at {anew.url} now: restart this process")
        self._runtime.embedded = anew
        await asyncio.to_thread(used.release)
        log.info("embedded MongoDB restarted", pid=anew.pid)


def lanes(known: Mapping[str, QueueConfig], local: LocalProcessors) -> list[Lane]:
    """Return a lane for each queue with processors for this process; of any type if one of them takes all types."""
    made = []
    for queue, config in sorted(known.items()):
        mine = {kind for kind, processor in config.processors.items() if local.has(processor)}
        elsewhere = set(config.processors) - mine
        if elsewhere:
            log.warning("processors missing", queue=queue, types=sorted(elsewhere))
        if not mine:
            continue
        types = None if ANY_TYPE in mine else tuple(sorted(mine))
        excluded = tuple(sorted(elsewhere)) if types is None else ()
        slowest = max(local.stop_seconds(config.processors[kind]) for kind in mine)
        maker = _maker(config, local)
        made.append(
            Lane(queue=queue, types=types, processor=maker, excluded=excluded, stop_seconds=slowest, config=config)
        )
    return made


def _maker(config: QueueConfig, local: LocalProcessors) -> Callable[[Job], Processor]:
    """Return a function that finds the processor of a job in the configuration under which the job was claimed."""

    def processor(job: Job) -> Processor:
        processor_config = config.processor_for(job.type)
        if processor_config is None or job.claim is None:
            raise TypeError(f"job {job.id} was claimed for a processor and has none")
        return local.make(processor_config, job.claim.token)

    return processor
