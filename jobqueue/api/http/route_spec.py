"""Routes with their schemas: the server reads requests by them, and ``/openapi.json`` is made of them.

To add a route:

1. Write its schemas in the room's ``schemas.py``, or in ``api/schemas`` if rooms share them: a `Query` for its query
   string (`schemas/queries.py` has kinds of parameters), a `Strict` for its body, a `Response` for its reply. Limits go
   into ``spec=``, from the domain's own constants.
2. Write the handler. The first line of its docstring is the summary in the document. ``request[QUERY]`` holds the
   values of the query string; without a schema every parameter is refused. The handler reads the body with
   ``json_body.read_body`` and writes the reply with ``Response.of``.
3. Add a line to the table in the room's ``routes.py``: ``_route("GET", "/v1/things", things.show, "read",
   ok(ThingsResponse), query=ThingsQuery, errors=(404,), operation="listThings")``. ``operation`` is the name of the
   method in generated clients: a verb and a noun. ``errors`` are those that do not follow from the rest:

   * with a role 401, 403 and 429; always 422, 500 and 503
   * with a body 400, 408, 413 and 415
   * with conditions 400 and 412

   With ``has_etag`` the document also shows the headers of conditions, the ``ETag`` of replies, and 304; the handler
   reads ``preconditions.preconditions``. With ``has_claim`` the route of a running job takes the token of its claim in
   place of an API token; the handler reads the body with ``work.reports.read_report``.
4. Describe the route in the table of ``docs/http-api.md``. A test compares both.
5. Let ``tests/support/http/answers.py`` ask for it, and run ``scripts/examples``, which keeps the answers of a server
   as the examples of the document.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
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
Tag = Literal["jobs", "work", "batches", "queues", "schedules", "alerts", "history", "access", "system"]


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON body of a request; an optional body may be missing."""

    schema: type[Schema]
    example: Any
    optional: bool = False
    media_types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply; without a schema its body is no JSON."""

    schema: type[Schema] | None = None
    text: str = "as asked for"
    headers: tuple[Header, ...] = ()
    media_type: str = JSON


def ok(schema: type[Schema], text: str = "as asked for") -> dict[int, Reply]:
    """Return the replies of a route that always answers 200."""
    return {200: Reply(schema, text)}


NO_CONTENT: Final = {204: Reply(text="done")}


@dataclass(frozen=True, slots=True)
class Route:
    """A route.

    Attributes:
        role: that a caller needs; ``None`` opens the route to everybody.
        replies: by status.
        or_role: another role that is enough.
        operation: the name of the route in the document and in generated clients.
        tag: the section of the document; a room has a default.
        query: of the query string.
        errors: statuses that do not follow from the rest.
        headers: of the request.
        has_etag: the subject has an ``ETag``, so the conditions of RFC 9110 hold for it.
        has_claim: the route accepts the token of the job's claim in place of an API token.
    """

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    role: Role | None
    replies: Mapping[int, Reply]
    _: KW_ONLY
    operation: str
    tag: Tag
    or_role: Role | None = None
    query: type[Query] | None = None
    body: Body | None = None
    errors: tuple[int, ...] = ()
    headers: tuple[Header, ...] = ()
    has_etag: bool = False
    has_claim: bool = False

    @property
    def refuses_conditions(self) -> bool:
        """Return True if the route changes a subject without ``ETag``: no condition can hold for it."""
        return self.method != hdrs.METH_GET and "{" in self.path and not self.has_etag


MADE_BEFORE: Final = "what the same request has made before"
"""The text of the reply to a request that is repeated under its ``Idempotency-Key``."""
ROLED: Final = (401, 403, 429)
CONDITIONAL: Final = (400, 412)
BODIED: Final = (400, 408, 413, 415)
ALWAYS: Final = (422, 500, 503)
"""Every route refuses unknown parameters."""


def errors(route: Route) -> list[int]:
    """Return the statuses of all problems that a route can answer with."""
    statuses = {*route.errors, *ALWAYS}
    if route.role is not None:
        statuses.update(ROLED)
    if route.has_etag or route.refuses_conditions:
        statuses.update(CONDITIONAL)
    if route.body is not None:
        statuses.update(BODIED)
    return sorted(statuses)
