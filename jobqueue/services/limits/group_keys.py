"""Correct the limit groups of waiting jobs, in queues whose limits hold for each value of a path.

New and changed jobs get their group when they are written. Three kinds of jobs are corrected here: jobs that waited
when the limit was configured, jobs of processes that did not know the limit yet, and jobs that another tool has
changed.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.limits.group_key_statements import Place
    from jobqueue.store.limits.group_keys import LimitKeyStore

KEY_SECONDS: Final = 2.0
"""Seconds between looks at new jobs, and between steps of a walk."""
_ALL_SECONDS: Final = 60.0
_EAGER_SECONDS: Final = 15.0
_MARGIN: Final = timedelta(seconds=15)
Limited = tuple[str, str]
"""A queue, and the path whose values are limited."""


class LimitKeys:
    """Compares the groups of waiting jobs with their values: new jobs every two seconds, all jobs in walks.

    While a limit is new, a walk is done at once. Later a walk begins a minute after the last walk has ended, and takes
    a step of some thousand jobs every two seconds.
    """

    def __init__(self, configs: QueueConfigs, keys: LimitKeyStore, notifier: Notifier) -> None:
        self._configs = configs
        self._keys = keys
        self._notifier = notifier
        self._seen: dict[Limited, float] = {}
        self._walked: dict[Limited, float] = {}
        self._places: dict[Limited, Place] = {}

    async def run_once(self) -> None:
        """Correct jobs of every limited queue."""
        known = self._configs.known
        limited = [(queue, config.group_path) for queue, config in known.items() if config.group_path is not None]
        now = time.monotonic()
        self._seen = {queue_path: self._seen.get(queue_path, now) for queue_path in limited}
        self._walked = {queue_path: at for queue_path, at in self._walked.items() if queue_path in self._seen}
        self._places = {queue_path: place for queue_path, place in self._places.items() if queue_path in self._seen}
        for queue_path in limited:
            # For a moment, processes that do not know the limit yet may add jobs.
            is_new = now - self._seen[queue_path] < _EAGER_SECONDS
            if await (self._walk(queue_path) if is_new else self._look(queue_path, now)):
                self._notifier.tell(Wakeup(kind="ready", queue=queue_path[0]))

    async def _walk(self, limited: Limited) -> int:
        """Correct all waiting jobs of a queue; return the number of corrections."""
        changed, place = await self._keys.correct_part(*limited, None)
        while place is not None:
            more, place = await self._keys.correct_part(*limited, place)
            changed += more
        self._places.pop(limited, None)
        self._walked[limited] = time.monotonic()
        return changed

    async def _look(self, limited: Limited, now: float) -> int:
        """Correct new jobs of a queue, and a part of all jobs when a walk is due; return the number of corrections."""
        changed = await self._keys.correct_new(*limited, await self._keys.clock.now() - _MARGIN)
        place = self._places.pop(limited, None)
        if place is None and now - self._walked.get(limited, float("-inf")) < _ALL_SECONDS:
            return changed
        more, place = await self._keys.correct_part(*limited, place)
        if place is not None:
            self._places[limited] = place
        else:
            self._walked[limited] = now
        return changed + more
