"""Deleting ended jobs whose time is over, where a queue says how long they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.state import State
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from jobqueue.services.config import QueueConfigs
    from jobqueue.store.pruning import PruningStore

log = get_logger(__name__)
PRUNE_SECONDS: Final = 10.0
"""Between two looks."""
_AT_ONCE: Final = 500
_AGAIN_SECONDS: Final = 0.2


class Pruner:
    """Deletes what is over, a part at a time, so that nothing else has to wait for it."""

    def __init__(self, configs: QueueConfigs, pruning: PruningStore) -> None:
        self._configs = configs
        self._pruning = pruning

    async def run_once(self) -> float | None:
        """Delete a part of what is over; return in how many seconds to go on if more may be."""
        more = False
        for queue, config in self._configs.known.items():
            for state, seconds in config.retention.items():
                gone, found = await self._pruning.prune(queue, State(state), seconds, _AT_ONCE)
                more = more or found == _AT_ONCE
                if gone:
                    log.info("ended jobs deleted", queue=queue, state=state, count=gone, after_seconds=seconds)
        return _AGAIN_SECONDS if more else None
