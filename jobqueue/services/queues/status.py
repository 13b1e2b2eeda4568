"""How queues are configured and how they are doing, in the form that people and programs are shown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jobqueue.domain.jobs import json_form
from jobqueue.domain.queues import queue_form
from jobqueue.services.limits.breakers import status

if TYPE_CHECKING:
    from jobqueue.services.limits.breakers import Breakers
    from jobqueue.services.queues.queues import Queues
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.limits.limits import LimitStore
    from jobqueue.store.queues.queues import QueueStore


class QueueStatuses:
    """Looks at whole queues."""

    def __init__(
        self, queues: Queues, configs: QueueConfigs, figures: QueueStore, breakers: Breakers, limits: LimitStore
    ) -> None:
        self._queues = queues
        self._configs = configs
        self._figures = figures
        self._breakers = breakers
        self._limits = limits

    async def names(self, *, after: str = "") -> list[str]:
        """Return the names of all queues that are configured or have jobs, in order, those after one."""
        await self._configs.refresh()
        return sorted(name for name in {*self._configs.known, *await self._figures.names()} if name > after)

    async def of(self, name: str, *, urls: bool = False) -> tuple[dict[str, Any], str]:
        """Return a queue's configuration with its figures, as JSON, and the tag of the configuration.

        The secrets are masked, and the URLs of webhooks unless ``urls`` asks for those.

        ``counts`` has jobs by state; ``oldestPendingAge`` is how many seconds the longest waiting job could have been
        claimed; ``ended`` counts jobs by state within the last minute and hour.
        """
        (config, tag), figures = await asyncio.gather(self._queues.tagged(name), self._figures.figures(name))
        now = await self._limits.clock.now()
        breakers = [
            {
                "type": one.type,
                "state": status(one, config.breaker, now),
                "failures": one.failures,
                "until": json_form.value(one.open_until),
            }
            for one in await self._breakers.states(name, config)
            if config.breaker is not None
        ]
        shown = {
            "name": name,
            **queue_form.queue(config, urls=urls),
            "counts": figures.counts,
            "oldestPendingAge": figures.oldest_ready,
            "ended": figures.ended,
            "breakers": breakers,
        }
        return shown, tag
