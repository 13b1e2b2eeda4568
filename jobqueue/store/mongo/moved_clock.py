"""A clock that can be moved ahead of the server's time, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.store.mongo.clock import SERVER_NOW, Now, ServerClock, steady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""The end of the time to which a clock can be moved: the ids of MongoDB end soon after."""
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(slots=True)
class Lead:
    """The time by which clocks are ahead of the server's; several connections of one test share it."""

    ahead: timedelta = timedelta(0)


class MovedClock(ServerClock):
    """The server's time, and a time that this clock was moved ahead.

    The present in statements is a date here: no statement of this process sees the server's own time.

    Attributes:
        lead: the time by which it was moved.
    """

    def __init__(self, hello: Callable[[], Awaitable[Mapping[str, Any]]]) -> None:
        self.lead = Lead()
        self._told = datetime.min.replace(tzinfo=UTC)
        super().__init__(hello)

    @property
    def present(self) -> Now:
        """The present in statements; never earlier than the last time."""
        if self._known is None:
            return SERVER_NOW
        moment = self._known.carried_on(steady()) + self.lead.ahead
        self._told = max(self._told, moment.replace(microsecond=moment.microsecond // 1000 * 1000))
        return self._told

    @present.setter
    def present(self, now: Now) -> None:
        if now != SERVER_NOW:
            raise ValueError("this clock is moved by move_to")

    async def ask(self) -> datetime:
        """Return the server's answer, and the time that this clock is ahead."""
        return await super().ask() + self.lead.ahead

    async def _server_time(self) -> datetime:
        return await super()._server_time() + self.lead.ahead

    def move_to(self, moment: datetime) -> None:
        """Move this clock ahead; an earlier moment changes nothing.

        Raises:
            ValueError: the moment is after `LATEST`.
        """
        if moment > LATEST:
            raise ValueError(f"the clock cannot be moved to {moment:%Y-%m-%d}, after {LATEST:%Y-%m-%d}")
        present = self.present
        if isinstance(present, datetime) and moment > present:
            # Dates in the database have no parts of a millisecond.
            self.lead.ahead += moment - present + _MILLISECOND
