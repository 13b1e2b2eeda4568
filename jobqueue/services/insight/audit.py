"""The trail of what people change."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import DatabaseError, JobQueueError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.insight.audit import Actor, AuditQuery, Entry
    from jobqueue.store.insight.audit import AuditStore

log = get_logger(__name__)
Target = tuple[str, str]
"""The kind and the name of what is changed, such as ``("job", "6b06…")``."""


@dataclass(slots=True)
class ObservedChange:
    """What is known of a change when it has been made.

    Attributes:
        discarded: nothing was changed, though there was no error.
        begun: something has been changed, or may have been: an error after that leaves the note there.
    """

    before: Any = None
    after: Any = None
    begun: bool = False
    discarded: bool = False

    def begin(self) -> None:
        """Note that something is changed now."""
        self.begun = True


class Audit:
    """Notes changes before they are made, and completes the note afterwards.

    Whoever crashes in between leaves a note that the change was begun, never a change without a note.
    """

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    @contextlib.asynccontextmanager
    async def noting(self, target: Target, action: str, by: Actor | None) -> AsyncIterator[ObservedChange]:
        """Note what the block changes; if it refuses to before it has begun, nothing stays noted.

        Of what breaks off otherwise, also by being cancelled, nobody knows what was changed: then the note stays as one
        of a change that was begun.

        Args:
            target: what is changed.
            action: what is done with it.
            by: who does it; with ``None`` nothing is noted.
        """
        noted = ObservedChange()
        if by is None:
            yield noted
            return
        entry = await self._store.begin(target, action, by)
        try:
            yield noted
        except DatabaseError:
            # Whether it was made nobody knows.
            raise
        except JobQueueError:
            if not noted.begun:
                await self._store.discard(entry)
            raise
        if noted.discarded:
            await self._store.discard(entry)
            return
        try:
            await self._store.complete(entry, noted.before, noted.after)
        except DatabaseError as error:
            log.warning("a change stays noted as begun", target=target, action=action, error=str(error))

    async def page(self, query: AuditQuery) -> list[Entry]:
        """Return changes, newest first."""
        return await self._store.find(query)
