"""Queue configurations as known to this process, never older than a second for a claim."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.journal import get_logger
from jobqueue.store.documents.claim_search import ClaimHorizon
from jobqueue.store.mongo.clock import steady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.store.queues.config import ConfigSnapshot, ConfigStore

    Check = Callable[[QueueConfig, str, str, Mapping[str, Any]], Awaitable[None]]

log = get_logger(__name__)
FRESH_SECONDS: Final = 1.0
"""Seconds after its read, by the server's clock, for which a configuration decides claims."""
_STALE_SECONDS: Final = 0.75 * FRESH_SECONDS
"""Age at which a copy is read anew, so that a claim reaches the server before its configuration is too old."""
_LONGEST_WINDOW: Final = 10.0
_DEFAULT: Final = QueueConfig()
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """A copy of the configuration, requested at ``asked_at`` and received at ``had_at`` by the steady clock."""

    queues: Mapping[str, QueueConfig] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    revision: int = 0
    at: datetime = _NEVER
    asked_at: float = float("-inf")
    had_at: float = float("-inf")

    def is_overtaken_by(self, answer: ConfigSnapshot, asked_at: float) -> bool:
        """Return true if an answer is newer than this copy.

        An answer that was requested after this copy had come is newer, whatever its revision: the database may have
        been restored. For answers that were under way together, revision and server time decide.
        """
        return asked_at >= self.had_at or (answer.revision, answer.at) > (self.revision, self.at)


class QueueConfigs:
    """The present configuration of all queues.

    Args:
        store: of the configurations.
        changed: called when a configuration differs from the last one.

    Attributes:
        check: makes sure that a worker takes the data of a job, in queues that want that; the application sets it.
    """

    def __init__(self, store: ConfigStore, changed: Callable[[], None]) -> None:
        self._store = store
        self._copy = _Snapshot()
        self._window = FRESH_SECONDS
        self._lock = asyncio.Lock()
        self._changed = changed
        self.check: Check | None = None

    @property
    def known(self) -> Mapping[str, QueueConfig]:
        """The configured queues, as last read."""
        return self._copy.queues

    @property
    def revision(self) -> int:
        """A number that grows with every change, also with a change that was reverted before this process saw it."""
        return self._copy.revision

    @property
    def horizon(self) -> ClaimHorizon:
        """The time until which the present copy decides claims."""
        copy = self._copy
        return ClaimHorizon(at=copy.at + timedelta(seconds=self._window), asked_at=copy.asked_at, seconds=self._window)

    def of(self, queue: str) -> QueueConfig:
        """Return a queue's configuration as last read; an unconfigured queue has the defaults."""
        return self._copy.queues.get(queue, _DEFAULT)

    def needs(self, queue: str) -> tuple[str, ...]:
        """Return the abilities that a process must have to claim from a queue, as last read."""
        return self._copy.needs.get(queue, ())

    async def fresh(self, queue: str) -> QueueConfig:
        """Return a queue's configuration, read anew if the copy is getting older than `FRESH_SECONDS`."""
        wanted_at = steady()
        if self._is_stale(wanted_at):
            async with self._lock:
                # Another call may have read the configuration meanwhile.
                if self._is_stale(wanted_at):
                    await self.refresh()
        return self.of(queue)

    async def admit(self, new: NewJob, path: str | None = None) -> QueueConfig:
        """Return the configuration of the queue of a new job, after a look at its data.

        Args:
            new: the job.
            path: of the job, for messages.

        Raises:
            InvalidInputError: no living worker takes the data, and the queue is to refuse such jobs.
        """
        config = await self.fresh(new.queue)
        if not config.check:
            return config
        try:
            await self.admit_data(new.queue, new.type, new.data)
        except InvalidInputError as error:
            raise error if path is None else error.under(path) from None
        return config

    async def admit_data(self, queue: str, kind: str, data: Mapping[str, Any]) -> None:
        """Make sure that a living worker takes data, as `admit`."""
        config = await self.fresh(queue)
        if config.check and self.check is not None:
            await self.check(config, queue, kind, data)

    async def refresh(self) -> None:
        """Read all configurations; an answer older than the present copy changes nothing."""
        asked_at = steady()
        self.take(await self._store.all(), asked_at)

    def take(self, answer: ConfigSnapshot, asked_at: float) -> None:
        """Take an answer that was requested at a time of the steady clock, unless the present copy is newer."""
        before = self._copy
        if not before.is_overtaken_by(answer, asked_at):
            return
        self._copy = _Snapshot(
            queues=answer.queues,
            needs=answer.needs,
            revision=answer.revision,
            at=answer.at,
            asked_at=asked_at,
            had_at=steady(),
        )
        if answer.queues != before.queues:
            self._changed()

    def was_late(self, horizon: ClaimHorizon) -> None:
        """Note that a claim was too late although its configuration was just read; give the next claims longer.

        Otherwise no claim would ever be in time on a slow way to the database.
        """
        self._window = min(max(self._window, 2 * horizon.age()), _LONGEST_WINDOW)
        log.warning("claim window extended", seconds=round(horizon.age(), 1), allowed=self._window)

    def was_in_time(self, horizon: ClaimHorizon) -> None:
        """Note that a claim was in time; give the next claims less time again, down to `FRESH_SECONDS`."""
        if self._window > FRESH_SECONDS:
            self._window = max(FRESH_SECONDS, min(self._window, max(self._window / 2, 2 * horizon.age())))

    def _is_stale(self, wanted_at: float) -> bool:
        return wanted_at - self._copy.asked_at >= _STALE_SECONDS
