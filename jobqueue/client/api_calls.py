"""All calls of the API, with their connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from jobqueue.client.access import AccessCalls
from jobqueue.client.alerts import AlertCalls
from jobqueue.client.erasures import ErasureCalls
from jobqueue.client.insight import InsightCalls
from jobqueue.client.jobs import JobCalls
from jobqueue.client.queues import QueueCalls
from jobqueue.client.workflow import BatchCalls

if TYPE_CHECKING:
    from types import TracebackType

    from jobqueue.client.transport import Transport


class ApiCalls(JobCalls, BatchCalls, ErasureCalls, QueueCalls, AlertCalls, InsightCalls, AccessCalls):
    """Calls of one server."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def url(self) -> str:
        """The address of the server."""
        return self._transport.base

    def transport(self) -> Transport:
        """Return connections of their own to the server, for another event loop."""
        return self._transport.another()

    async def close(self) -> None:
        """Close the connections; a further call opens them again."""
        await self._transport.close()
