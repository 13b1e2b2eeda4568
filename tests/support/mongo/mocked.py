"""The services of a process on a mock of MongoDB, for tests that need no server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mongomock_motor import AsyncMongoMockClient

from jobqueue.services.application import Runtime
from jobqueue.services.insight.readiness import Readiness
from jobqueue.store.mongo.database import Database

if TYPE_CHECKING:
    from jobqueue.settings import Settings


class MockClient:
    """Accepts the options that mongomock does not know."""

    def __init__(self) -> None:
        self._client: Any = AsyncMongoMockClient(tz_aware=True)

    def get_database(self, name: str, **_options: Any) -> Any:
        return self._client.get_database(name)


class MockDatabase(Database):
    """Tells the time, which mongomock does not."""

    async def command(self, name: str) -> dict[str, Any]:
        if name != "hello":
            return await super().command(name)
        return {"localTime": datetime.now(UTC).replace(tzinfo=None)}


def mocked(settings: Settings) -> Runtime:
    client: Any = MockClient()
    runtime = Runtime(settings, MockDatabase(client, "test", "mongodb://127.0.0.1:1"), None)
    runtime.readiness = Readiness(runtime.database.ping)
    return runtime
