"""A reader of server-sent events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp


@dataclass(slots=True)
class Source:
    """The events that a browser's ``EventSource`` would have read so far."""

    last_id: str = ""
    retry: int | None = None
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def read(self, response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield each event with its name, until the stream ends."""
        name, data = "", ""
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            key, _, value = line.partition(": ")
            match key:
                case "id":
                    self.last_id = value
                case "event":
                    name = value
                case "data":
                    data = value
                case "retry":
                    self.retry = int(value)
                case "" if data:
                    self.events.append((name, json.loads(data)))
                    name, data = "", ""
                    yield self.events[-1]
                case _:
                    pass
