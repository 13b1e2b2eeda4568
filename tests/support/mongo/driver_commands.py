"""The commands that the driver sends to MongoDB."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from pymongo import monitoring

from jobqueue.store.mongo import connections
from jobqueue.store.mongo.driver import AsyncMongoClient

if TYPE_CHECKING:
    import pytest

_BACKGROUND: Final = frozenset({"hello", "ping", "endSessions", "commitTransaction", "abortTransaction"})


class SentCommands(monitoring.CommandListener):
    """Notes each command of the clients that are opened from now on, as ``find jobs``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[str] = []
        client = functools.partial(AsyncMongoClient, event_listeners=[self])
        monkeypatch.setattr(connections, "AsyncMongoClient", client)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name not in _BACKGROUND:
            self.sent.append(f"{event.command_name} {event.command.get(event.command_name)}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Note nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Note nothing."""

    def about_jobs(self) -> list[str]:
        """Return the names of the commands on jobs since the last call."""
        sent, self.sent = self.sent, []
        return [command.removesuffix(" jobs") for command in sent if command.endswith(" jobs")]
