"""Follow changes of `data` and `meta` that are made with a tool of MongoDB.

Search attributes are derived from `meta`, and the limit group of a job from `data` or `meta`. A tool updates neither,
so both are derived anew here, for every job that the change stream names. The database keeps the stream position.
Where changes may have been missed, a paced walk goes over all jobs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.edits.edits import EditProgress, EditsLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.edits.edits import EditPage, EditStore
    from jobqueue.store.limits.group_keys import LimitKeyStore

log = get_logger(__name__)
EDIT_SECONDS: Final = 2.0
"""Seconds between looks at the changes, over all processes."""
_OWN_SECONDS: Final = 10.0
"""Seconds for which a process that follows the changes does not read the stored progress."""
WALK_SECONDS: Final = 0.2
"""Seconds between steps of a walk, over all processes, if a step is cheap."""
_SHARE: Final = 20
"""A walk takes a twentieth of the time of one process, so that workers go on undisturbed."""
_SLACK: Final = 0.9
_STORED_EVERY: Final = 2
"""Looks without a change after which the position is stored again."""
_SILENT_FOR: Final = 3
"""Looks after which another process takes over."""


class EditFollower:
    """Updates derived fields after edits by other tools; any number of processes may do this at any time."""

    def __init__(self, edits: EditStore, configs: QueueConfigs, limit_keys: LimitKeyStore, notifier: Notifier) -> None:
        self._edits = edits
        self._configs = configs
        self._limit_keys = limit_keys
        self._notifier = notifier
        self._own: EditProgress | None = None
        self._own_until = self._stored_at = float("-inf")

    async def run_once(self) -> float | None:
        """Follow the changes since the stored position, and take a step of the walk, if any.

        Returns:
            Seconds until the next step of a walk.
        """
        progress = self._own if time.monotonic() < self._own_until else None
        if progress is None:
            progress = await self._edits.progress()
            self._own_until = time.monotonic() + _OWN_SECONDS
            every = WALK_SECONDS * _SLACK if progress.walk else EDIT_SECONDS * _SILENT_FOR
            # The clock of the server may have been set back: then the last look lies ahead.
            if 0 <= progress.idle < every:
                # Another process has just done it.
                self._own, self._own_until = None, float("-inf")
                return WALK_SECONDS if progress.walk else None
        self._own = None
        if not await self._follow(progress):
            return WALK_SECONDS
        if progress.walk is None:
            return None
        began = time.monotonic()
        goes_on = await self._edits.step(progress.walk) is not None
        return max(WALK_SECONDS, _SHARE * (time.monotonic() - began)) if goes_on else None

    async def _follow(self, progress: EditProgress) -> bool:
        """Follow the changes up to now; return false if changes are lost, so that a walk is due."""
        position = progress.position
        try:
            while True:
                edits = await self._edits.next(position)
                await self._derive(edits.ids)
                is_last = await self._store(edits)
                position = edits.position
                if not edits.more:
                    self._own = EditProgress(position=position) if is_last and progress.walk is None else None
                    return True
        except EditsLostError as error:
            log.info("walk over jobs started", reason=str(error)[:200])
            await self._edits.begin(position)
            return False

    async def _store(self, edits: EditPage) -> bool:
        """Store a position, unless there was no change and one was stored lately; return false if it is useless."""
        now = time.monotonic()
        if not edits.ids and now - self._stored_at < EDIT_SECONDS * _STORED_EVERY * _SLACK:
            return True
        self._stored_at = now
        return await self._edits.advance(edits.position)

    async def _derive(self, ids: Sequence[Any]) -> None:
        if not ids:
            return
        queues: dict[str, list[Any]] = {}
        for job_id, queue in await self._edits.derive(ids):
            queues.setdefault(queue, []).append(job_id)
        for queue, jobs in queues.items():
            path = (await self._configs.fresh(queue)).group_path
            if path is not None:
                await self._regroup(queue, path, jobs)

    async def _regroup(self, queue: str, path: str, jobs: Sequence[Any]) -> None:
        """Correct the groups of jobs; a value that the server cannot read does not block other changes."""
        try:
            changed = await self._limit_keys.correct_some(queue, path, jobs)
        except DatabaseError:
            raise
        except Exception:
            log.exception("groups not corrected", queue=queue, jobs=len(jobs))
            return
        if changed:
            self._notifier.tell(Wakeup(kind="ready", queue=queue))
