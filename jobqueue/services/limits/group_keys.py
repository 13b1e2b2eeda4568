"""Telling waiting jobs in which group they count, where the limits of their queue hold for each value of something.

New jobs know their group from the start, and changed ones from their change. All others are told here: those that
waited when the limit was configured, those of a process that did not know of the limit yet, and those whose value was
written or changed with a tool of MongoDB.
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
"""Between two looks at what is new, and two steps of a walk."""
_ALL_SECONDS: Final = 60.0
_EAGER_SECONDS: Final = 15.0
_MARGIN: Final = timedelta(seconds=15)
Limited = tuple[str, str]
"""A queue, and the path by which it is limited."""


class LimitKeys:
    """Compares the keys of waiting jobs with their values: of new jobs every two seconds, of all in walks.

    A walk is done at once while a limit is new. Afterwards one begins a minute after the last one has ended, and takes
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
        """Look at every queue."""
        known = self._configs.known
        limited = [(queue, config.group_path) for queue, config in known.items() if config.group_path is not None]
        now = time.monotonic()
        self._seen = {one: self._seen.get(one, now) for one in limited}
        self._walked = {one: at for one, at in self._walked.items() if one in self._seen}
        self._places = {one: place for one, place in self._places.items() if one in self._seen}
        for one in limited:
            # Processes that do not know the limit yet may add jobs for a moment.
            is_new = now - self._seen[one] < _EAGER_SECONDS
            if await (self._walk(one) if is_new else self._look(one, now)):
                self._notifier.tell(Wakeup(kind="ready", queue=one[0]))

    async def _walk(self, limited: Limited) -> int:
        """Correct all waiting jobs of a queue; return how many were wrong."""
        changed, place = await self._keys.correct_part(*limited, None)
        while place is not None:
            more, place = await self._keys.correct_part(*limited, place)
            changed += more
        self._places.pop(limited, None)
        self._walked[limited] = time.monotonic()
        return changed

    async def _look(self, limited: Limited, now: float) -> int:
        """Correct new jobs of a queue, and some of all when it is time for that; return how many were wrong."""
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
