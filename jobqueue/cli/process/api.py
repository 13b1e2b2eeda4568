"""The HTTP API as commands use it, of a server."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from jobqueue.client.calls import Calls, pairs
from jobqueue.client.errors import UnauthorizedError, UnexpectedReplyError
from jobqueue.client.transport import Transport, Tries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.client.transport import Reply
    from jobqueue.domain.errors import JobQueueError


_REFUSED: Final = "refuses the token: it is wrong, expired or revoked"
_NEEDED: Final = (
    "takes no call without a token: set JOBQUEUE_API_TOKEN, or name a file by JOBQUEUE_API_TOKEN_FILE; the "
    "JOBQUEUE_TOKEN of a job's script is for its steps only"
)
_PAGE: Final = 200
_TRY_SECONDS: Final = 60.0
_MARK: Final = "Jobqueue-Api"
"""A header of every reply of the API, and of no other server."""


class Listener(Protocol):
    """Tells people that there is no answer; calls are repeated for ``patience`` seconds."""

    @property
    def patience(self) -> float: ...  # noqa: D102 - as above

    def __call__(self, error: JobQueueError, /) -> None:
        """Tell the reason why a call is repeated."""

    def answered(self) -> None:
        """Expect no answer any more."""


class Api(Calls):
    """Calls of the API; replies are its documents.

    Args:
        transport: sends the requests.
        answered: called after each reply.
        refusal: the reason of a reply without a valid token, after the address of the server.
    """

    _date: datetime | None = None

    def __init__(self, transport: Transport, answered: Callable[[], None], refusal: str = "refuses") -> None:
        super().__init__(transport)
        self._answered, self._refusal = answered, refusal

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def get(self, *parts: str, query: Mapping[str, Any] | None = None, wait: float = 0) -> Any:
        """Return a document; ``wait`` is how many seconds the server is asked to wait."""
        asked = {**(query or {}), **({"wait": wait} if wait else {})}
        return (await self._send("GET", *parts, query=pairs(asked), wait=wait)).body

    async def tagged(self, *parts: str) -> tuple[Any, str | None]:
        """Return a document and its entity tag; a proxy may have taken that away, or have made it weak."""
        reply = await self._send("GET", *parts)
        tag = reply.headers.get("ETag")
        return reply.body, None if tag is None else tag.removeprefix("W/")

    async def post(
        self,
        *parts: str,
        body: Mapping[str, Any] | None = None,
        safe: bool = False,
        keyed: bool = False,
        wait: float = 0,
        match: str | None = None,
    ) -> Any:
        """Act, and return the document of the reply.

        Args:
            parts: of the path.
            body: of the request.
            safe: a repetition has no further effect.
            keyed: make a repetition have none.
            wait: seconds that the server may take besides the usual ones.
            match: the tag that the resource must have, as `tagged` returns it.

        Raises:
            ChangedMeanwhileError: it has another one.
        """
        body = {} if body is None else body
        headers = {} if match is None else {"If-Match": match}
        return (await self._send("POST", *parts, body=body, safe=safe, keyed=keyed, wait=wait, headers=headers)).body

    async def put(
        self, *parts: str, body: Mapping[str, Any], query: Mapping[str, Any] | None = None, safe: bool = False
    ) -> Any:
        """Create or replace a resource, and return its document; ``safe`` as for `post`."""
        return (await self._send("PUT", *parts, body=body, query=pairs(query or {}), safe=safe)).body

    async def patch(self, *parts: str, body: Mapping[str, Any]) -> Any:
        """Change a resource, and return its document."""
        return (await self._send("PATCH", *parts, body=body, safe=False)).body

    async def delete(self, *parts: str, query: Mapping[str, Any] | None = None) -> Any:
        """Delete a resource, and return the document of the reply, if there is one."""
        return (await self._send("DELETE", *parts, query=pairs(query or {}), safe=False)).body

    async def find(self, *parts: str, headers: Mapping[str, str] | None = None, without: int = 404) -> Any:
        """Return a document, or ``None`` for a reply with the status ``without``."""
        reply = await self._send("GET", *parts, headers=headers or {}, expected=frozenset({without}))
        return None if reply.status == without else reply.body

    async def items(self, *parts: str, query: Mapping[str, Any] | None = None, most: int | None = None) -> list[Any]:
        """Return the items of all pages of a list, at most ``most``."""
        found: list[Any] = []
        async for item in self._pages(dict, *parts, query={"limit": min(most or _PAGE, _PAGE), **(query or {})}):
            if len(found) == most:
                break
            found.append(item)
        return found

    async def now(self) -> datetime:
        """Return the present by the clock of the server, if it has answered before, else by that of this machine."""
        return datetime.now(UTC) if self._date is None else self._date

    async def carry_on(self, operation_id: str) -> bool:
        """Carry out a part of an operation in this process; return false if others do so."""
        del operation_id
        return False

    async def _send(self, method: str, *parts: str, **call: Any) -> Reply:
        try:
            reply = await super()._send(method, *parts, **call)
        except UnauthorizedError:
            raise UnauthorizedError(f"{self._transport.base} {self._refusal}") from None
        finally:
            self._answered()
        if _MARK not in reply.headers:
            where = f"{method} {self._transport.base}"
            raise UnexpectedReplyError(reply.status, f"{where}: the reply is none of a jobqueue server: check the URL")
        with contextlib.suppress(ValueError, TypeError):
            self._date = parsedate_to_datetime(reply.headers.get("Date", ""))
        return reply


def of_server(url: str, token: str, told: Listener) -> Api:
    """Return the API of a server.

    Args:
        url: of the server.
        token: of the API; empty for none.
        told: called with the reason before a call is repeated.

    Raises:
        InvalidInputError: the URL or the token cannot be used.
    """
    tries = Tries(seconds=_TRY_SECONDS, patience=told.patience, failed=told)
    return Api(Transport(url, token, None, tries), told.answered, _REFUSED if token else _NEEDED)
