"""Under which keys the application and its requests carry what handlers need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from jobqueue.api.desk import Desk
from jobqueue.services.runtime import Runtime

if TYPE_CHECKING:
    from typing import Final

RUNTIME: Final = web.AppKey("runtime", Runtime)
DESK: Final = web.AppKey("desk", Desk)
QUERY: Final = web.RequestKey("query", dict[str, Any])
"""The query string as the schema of the route has read it."""
REQUEST_ID: Final = web.RequestKey("request_id", str)
