"""Wake the loops of a process when there is work for them: one question a second in place of one for each loop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError
from jobqueue.store.mongo.clock import steady

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.pulse import PulseStore

PULSE_SECONDS: Final = 0.9
"""Seconds between questions: a changed configuration is known within a second."""
REST_SECONDS: Final = 30.0
"""Seconds between turns of a loop that the pulse wakes, should it miss something."""


@dataclass(slots=True)
class _Part:
    wake: Callable[[], None]
    every: float
    next_at: float = 0.0


class Pulse:
    """Asks for work, and wakes the loops that have some.

    A question that fails unforeseen, as another tool has spoilt a document, counts as work for all.

    Args:
        store: asks.
        configs: get the configuration.
        seen: called with the server's time, and the times of the question and of the answer by the monotonic clock.
    """

    def __init__(
        self, store: PulseStore, configs: QueueConfigs, seen: Callable[[datetime, float, float], None]
    ) -> None:
        self._store = store
        self._configs = configs
        self._seen = seen
        self._parts: dict[str, _Part] = {}
        self._nothing_at = float("-inf")

    def on(self, part: str, wake: Callable[[], None], *, every: float = PULSE_SECONDS) -> None:
        """Call ``wake`` when there is work of a part, looked for at most every so many seconds."""
        self._parts[part] = _Part(wake, every)

    def is_idle(self, within: float) -> bool:
        """Tell whether an answer, at most so many seconds old, named no job that waits to be claimed."""
        return time.monotonic() - self._nothing_at <= within

    async def run_once(self) -> None:
        """Ask once."""
        began = time.monotonic()
        parts = {name: part for name, part in self._parts.items() if part.next_at <= began}
        asked_at = steady()
        try:
            answer = await self._store.look(["ready", *parts])
        except DatabaseError:
            raise
        except Exception:
            for part in parts.values():
                part.wake()
            raise
        self._configs.take(answer.config, asked_at)
        self._seen(answer.at, began, time.monotonic())
        if "ready" not in answer.due:
            self._nothing_at = began
        for name, part in parts.items():
            part.next_at = began + part.every
            if name in answer.due:
                part.wake()
