"""Turn changes in the database into wake-ups of one process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.insight.wakeup_stream import WakeupEvent

_ANNOUNCED_SECONDS: Final = 1.0
_MOST_ANNOUNCED: Final = 10_000
_KINDS: Final = {"pending": "ready", "delayed": "delayed", "killed": "killed"}


class Relay:
    """Tells of changes by other processes; the stream repeats those of this process a moment after their wake-up.

    Attributes:
        is_listening: the change stream is on; before that no announcement is remembered.
    """

    def __init__(self, notifier: Notifier) -> None:
        self.is_listening = False
        self._notifier = notifier
        self._announced: dict[tuple[str, str | None], float] = {}
        notifier.listen(self._on_wakeup)

    def on_change(self, event: WakeupEvent) -> None:
        """Turn a change into wake-ups, unless this process has announced it itself."""
        kind = _KINDS.get(event.state or "", "all")
        if event.kind == "gap":
            self._notifier.tell(Wakeup(kind="all", relayed=True))
        if event.kind != "job":
            return
        if event.room and self._is_news("room", event.job_id):
            self._notifier.tell(Wakeup(kind="room", job_id=event.job_id, relayed=True))
        is_about_more = event.state in _KINDS or not event.room
        if is_about_more and self._is_news(kind, event.job_id):
            wake = Wakeup(kind=kind, queue=event.queue, job_id=event.job_id, priority=event.priority, relayed=True)
            self._notifier.tell(wake)

    def _is_news(self, kind: str, job_id: str | None) -> bool:
        return self._announced.pop((kind, job_id), 0.0) < time.monotonic()

    def _on_wakeup(self, wake: Wakeup) -> None:
        """Remember announcements of this process, which the change stream repeats in a moment."""
        if not wake.relayed and wake.job_id is not None and self.is_listening:
            self._announced[wake.kind, wake.job_id] = time.monotonic() + _ANNOUNCED_SECONDS
            if len(self._announced) > _MOST_ANNOUNCED:
                self._announced.pop(next(iter(self._announced)))
