"""Keys of the application and of requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from jobqueue.api.http.route_spec import Route
from jobqueue.domain.access.access import Caller
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.application import Runtime

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Final


@dataclass(frozen=True, slots=True)
class Home:
    """The handler of the page at ``/``."""

    show: Callable[[web.Request], Awaitable[web.StreamResponse]]


RUNTIME: Final = web.AppKey("runtime", Runtime)
OPEN_TO_ALL: Final = web.AppKey("open_to_all", bool)
"""True if requests without a token may do anything."""
PERSON: Final = web.AppKey("person", Actor)
"""The person at the command line whose process alone reaches the application, and who may do anything."""
ROUTE_TABLE: Final = web.AppKey("route_table", tuple[Route, ...])
OPEN_PATHS: Final = web.AppKey("open_paths", frozenset[str])
"""The paths of routes that are open to everybody, as in the route table."""
FORM_PATHS: Final = web.AppKey("form_paths", frozenset[str])
"""The paths of pages with forms, which take the cookie of a session also for POST, and check each form themselves."""
CALLER: Final = web.RequestKey("caller", Caller)
CLAIM_TOKEN: Final = web.RequestKey("claim_token", str)
"""The token of a claim of the job in the path, which the request sends in place of an API token."""
REMOTE: Final = web.RequestKey("remote", str)
"""The address of the client, behind trusted proxies."""
QUERY: Final = web.RequestKey("query", dict[str, Any])
"""The values of the query string."""
REQUEST_ID: Final = web.RequestKey("request_id", str)
HOME: Final = web.AppKey("home", Home)
"""The page at ``/`` for browsers, where there is a dashboard."""
