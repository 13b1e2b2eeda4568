"""The audit: an entry for each change by a person."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import DatabaseError, JobQueueError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.store.insight.audit import AuditStore

log = get_logger(__name__)
Target = tuple[str, str]
"""The kind and the name of a target, such as ``("job", "6b06…")``."""


@dataclass(slots=True)
class ObservedChange:
    """A change that is being noted.

    Attributes:
        discarded: nothing was changed, although there was no error.
        begun: the change may have begun, so that its entry stays after an error.
    """

    before: Any = None
    after: Any = None
    begun: bool = False
    discarded: bool = False

    def begin(self) -> None:
        """Note that the change begins now."""
        self.begun = True


class Audit:
    """Writes the entry of a change before the change, and completes the entry afterwards.

    A crash in between leaves an entry that a change was begun, never a change without an entry.
    """

    def __init__(self, store: AuditStore) -> None:
        self.store = store

    @contextlib.asynccontextmanager
    async def noting(self, target: Target, action: str, by: Actor | None) -> AsyncIterator[ObservedChange]:
        """Note the change that the block makes; an error before the change has begun removes the entry.

        After a database error or a cancellation the outcome is not known: the entry stays as that of a begun change.

        Args:
            target: of the change.
            action: such as ``kill``.
            by: who makes the change; ``None`` for no entry.
        """
        noted = ObservedChange()
        if by is None:
            yield noted
            return
        entry = await self.store.begin(target, action, by)
        try:
            yield noted
        except DatabaseError:
            raise
        except JobQueueError:
            if not noted.begun:
                await self.store.discard(entry)
            raise
        if noted.discarded:
            await self.store.discard(entry)
            return
        try:
            await self.store.complete(entry, noted.before, noted.after)
        except DatabaseError as error:
            log.warning("audit entry not completed", target=target, action=action, error=str(error))
