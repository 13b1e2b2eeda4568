"""The parts of calls that all rooms of the client share: paths, pages, and values made of replies."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from jobqueue.client.errors import UnexpectedReplyError, of_problem
from jobqueue.client.transport import Call, segment
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.json_form import date
from jobqueue.domain.values.iso8601 import aware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from jobqueue.client.transport import Reply, Transport

T = TypeVar("T")


class Calls:
    """Calls of one server.

    Args:
        transport: sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _send(self, method: str, *parts: str, **call: Any) -> Reply:
        return await self._transport.send(Call(method=method, path=path(*parts), **call))

    async def _read(self, reader: Callable[[Any], T], method: str, *parts: str, **call: Any) -> T:
        """Send a request, and return its reply as `reader` makes a value of it."""
        return made(reader, await self._send(method, *parts, **call))

    async def _delete(self, *parts: str, query: tuple[tuple[str, str], ...] = ()) -> None:
        """Delete a resource; one that a repetition does not find any more was deleted by the try before."""
        reply = await self._send("DELETE", *parts, query=query, expected=frozenset({404}))
        if reply.status == 404 and not reply.uncertain:  # noqa: PLR2004 - as above
            raise of_problem(reply.status, reply.body, path(*parts))

    async def _pages(
        self,
        reader: Callable[[Any], T],
        *parts: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[T]:
        """Yield the items of all pages of a list; with a body, the list is the reply to a POST."""
        cursor: str | None = None
        while True:
            if body is None:
                reply = await self._send("GET", *parts, query=pairs({**(query or {}), "cursor": cursor}))
            else:
                more = {} if cursor is None else {"cursor": cursor}
                reply = await self._send("POST", *parts, body={**body, **more})
            items, cursor = made(lambda page: ([*map(reader, page["items"])], page["next"]), reply)
            for item in items:
                yield item
            if cursor is None:
                return


def path(*parts: str) -> str:
    """Return the path of a resource of the API."""
    return "/v1/" + "/".join(map(segment, parts))


def made(reader: Callable[[Any], T], reply: Reply) -> T:
    """Return a value made of a reply.

    Raises:
        UnexpectedReplyError: the reply has another form.
    """
    try:
        return reader(reply.body)
    except (AttributeError, InvalidInputError, LookupError, TypeError, ValueError) as error:
        raise UnexpectedReplyError(reply.status, f"the reply has another form than expected: {error}") from error


def view(kind: type[T]) -> Callable[[Any], T]:
    """Return a reader of the values of a class of `views`."""
    return lambda form: msgspec.convert(form, kind)


def pairs(query: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query as texts; ``None``, an empty tuple and ``False`` are left out.

    Raises:
        InvalidInputError: a date has no time zone.
    """
    return tuple(
        (name, _text(value, name))
        for name, value in query.items()
        if value is not None and value is not False and value != ()
    )


def _text(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "true"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return date(aware(value, name)) if isinstance(value, datetime) else str(value)
