"""What a route takes and gives, said once: requests are read by it, and ``/openapi.json`` is made of it.

To add a route:

1. Write its schemas in the room's ``schemas.py``, or in ``api/schemas`` if rooms share them: a `Query` for its query
   string (`schemas/queries.py` has kinds of fields), a `Strict` for its body, a `Response` for its answer. Limits go
   into ``spec=``, from the domain's own constants.
2. Write the handler. The first line of its docstring is the summary in the document. ``request[QUERY]`` holds what the
   query string's schema has made of it; without one every parameter is refused. The body is read by the handler.
3. Add a line to the table in the room's ``routes.py``:
   ``Route("GET", "/v1/things", things.show, "read", Operation(tag="things",
   query=ThingsQuery, replies={200: Reply(ThingsResponse)}, errors=(404,)))``. ``errors`` are those that do not follow
   from the rest: what has a role can be 401, 403 and 429, what is read 422, what has a body 400, 408, 413 and 415,
   what may have conditions 400 and 412, and everything 500 and 503. With ``has_etag`` the document also tells of the
   headers of conditions, of the ``ETag`` in answers, and of 304; the handler reads ``preconditions.preconditions``.
4. Say in the table of ``docs/http-api.md`` what it is for. A test compares both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import hdrs

from jobqueue.api.http.json_reply import JSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web
    from marshmallow import Schema

    from jobqueue.api.schemas.queries import Query
    from jobqueue.domain.access.access import Role

Header = Literal["Idempotency-Key", "Last-Event-ID", "Location"]
Tag = Literal["jobs", "work", "batches", "queues", "schedules", "history", "access", "system"]


@dataclass(frozen=True, slots=True)
class Body:
    """A request body of JSON, declared as one of some media types; an optional one may be left out altogether."""

    schema: type[Schema]
    optional: bool = False
    example: Any = None
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer, without a schema one without JSON in its body."""

    schema: type[Schema] | None = None
    text: str = "as asked for"
    headers: tuple[Header, ...] = ()
    media_type: str = JSON
    example: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and gives.

    Attributes:
        tag: under which it is found in the document.
        query: of its query string.
        replies: by status.
        errors: statuses that do not follow from the rest.
        headers: of the request.
        has_etag: what it is about has an ``ETag``: the conditions of RFC 9110 hold for it.
    """

    tag: Tag
    replies: Mapping[int, Reply]
    query: type[Query] | None = None
    body: Body | None = None
    errors: tuple[int, ...] = ()
    headers: tuple[Header, ...] = field(default=())
    has_etag: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One route; without a role it is open to everybody."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    role: Role | None
    operation: Operation

    @property
    def refuses_conditions(self) -> bool:
        """Return True if it changes something that has no ``ETag``: no condition on that can hold."""
        return self.method != hdrs.METH_GET and "{" in self.path and not self.operation.has_etag


MADE_BEFORE: Final = "what the same request has made before"
"""The text of the answer to a request that is repeated under its ``Idempotency-Key``."""
ROLED: Final = (401, 403, 429)
READ: Final = (422,)
CONDITIONAL: Final = (400, 412)
BODIED: Final = (400, 408, 413, 415)
ALWAYS: Final = (500, 503)


def errors(route: Route) -> list[int]:
    """Return the statuses of all problems that a route can answer with."""
    operation, has_role = route.operation, route.role is not None
    found = {*operation.errors, *ALWAYS}
    if has_role:
        found.update(ROLED)
    if operation.query is not None or operation.body is not None or has_role or "{" in route.path:
        found.update(READ)
    if operation.has_etag or route.refuses_conditions:
        found.update(CONDITIONAL)
    if operation.body is not None:
        found.update(BODIED)
    return sorted(found)
