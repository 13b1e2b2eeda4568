"""Requests to the API: repeated as long as that is safe, and bounded in time."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from jobqueue import tracing
from jobqueue.client.errors import ServerUnreachableError, UnexpectedReplyError, of_problem
from jobqueue.domain.durations import is_number
from jobqueue.domain.errors import InvalidInputError, JobQueueError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

log = get_logger(__name__)
URL_VARIABLE: Final = "JOBQUEUE_URL"
TOKEN_VARIABLE: Final = "JOBQUEUE_API_TOKEN"  # noqa: S105 - the name of a variable
DEFAULT_SECONDS: Final = 60.0
TRY_SECONDS: Final = 20.0
"""Seconds of one try, besides those for which the server is asked to wait."""
_CONNECT_SECONDS: Final = 5.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_MOST_MISTAKES: Final = 3
"""Tries of a request in which the server makes a mistake, so that it will hardly be carried out."""
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_NOT_BEGUN: Final = frozenset({"too-many-waiting", "too-many-readers", "busy"})
"""Problems of requests that the server has refused before it did anything."""
_STRANGE: Final = re.compile(r"[?#\s\x00-\x1f\x7f]")
"""Parts that the address of a server never has, even empty."""
_IN_FLIGHT: Final = "in-flight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request.

    Attributes:
        path: below the address of the server, with its variable parts quoted.
        query: pairs of names and texts.
        body: JSON; ``None`` for no body.
        keyed: send an ``Idempotency-Key``, under which a repetition has no second effect.
        safe: the request may be repeated, for a second one has no further effect.
        wait: seconds for which the server is asked to wait.
        claim: the token of a claim, in place of an API token.
        within: seconds for all tries; ``None`` for those of the client.
        expected: statuses of replies that are no errors here, besides those below 300.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    keyed: bool = False
    safe: bool = True
    wait: float = 0
    claim: str | None = None
    within: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: frozenset[int] = frozenset()

    @property
    def may_repeat(self) -> bool:
        """True if a repetition has no second effect."""
        return self.safe or self.keyed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply.

    Attributes:
        body: its JSON; ``None`` without a body.
        uncertain: an earlier try got no reply, and may have been carried out.
    """

    status: int
    body: Any
    headers: Mapping[str, str]
    uncertain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """The bounds of repetitions.

    Attributes:
        seconds: of one try, besides those for which the server is asked to wait.
        patience: seconds for which a call is repeated after its first failure; ``None`` for as long as it may take.
        failed: called with the reason before each repetition.
        connector: makes the connections, as the class of aiohttp.
    """

    seconds: float = TRY_SECONDS
    patience: float | None = None
    failed: Callable[[JobQueueError], None] = lambda _reason: None
    connector: Callable[..., aiohttp.BaseConnector] = aiohttp.TCPConnector


_TRIES: Final = Tries()


class _LostError(Exception):
    """Report a try without a reply; ``sent`` if the server may have got the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(reason)


class Transport:
    """Connections to one server, made when they are needed, for one event loop at a time.

    Args:
        url: of the server; ``None`` for that of the environment.
        token: of the API; ``None`` for that of the environment, if there is one; empty for none.
        timeout: seconds for one call with all its tries; ``None`` for no bound.
        tries: further bounds.

    Raises:
        InvalidInputError: the URL, the token or the number cannot be used.
    """

    def __init__(self, url: str | None, token: str | None, timeout: float | None, tries: Tries = _TRIES) -> None:
        self.base = _checked_url(os.environ.get(URL_VARIABLE) if url is None else url)
        self._token = _checked_token(os.environ.get(TOKEN_VARIABLE, "") if token is None else token)
        if timeout is not None and not (is_number(timeout) and timeout > 0):
            raise InvalidInputError({"timeout": ["must be a number of seconds above 0"]})
        self.timeout, self._tries = timeout, tries
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._abandoned: list[aiohttp.ClientSession] = []

    def another(self) -> Transport:
        """Return connections of their own to the same server, for another event loop."""
        return Transport(self.base, self._token or "", self.timeout, self._tries)

    async def close(self) -> None:
        """Close the connections; a further call makes new ones."""
        self._move_in()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    async def send(self, call: Call) -> Reply:
        """Send a request, again after a failure that may pass, and return the reply.

        Raises:
            JobQueueError: the problem that the server names; or `ServerUnreachableError`, if there was no reply in
                time, or none to a request that must not be repeated; or `UnexpectedReplyError`.
        """
        seconds = self.timeout if call.within is None else call.within
        deadline = math.inf if seconds is None else time.monotonic() + seconds + call.wait
        patience = math.inf if self._tries.patience is None else self._tries.patience
        headers = dict(call.headers) | ({"Idempotency-Key": secrets.token_hex(16)} if call.keyed else {})
        tries, uncertain, failing_since = 0, False, None
        while True:
            tries += 1
            asked = 0.0
            failure: JobQueueError
            try:
                reply = await self._try(call, headers, deadline)
            except _LostError as lost:
                uncertain = uncertain or lost.sent
                failure = ServerUnreachableError(f"{self._where(call)}: no answer: {lost}")
                may_repeat = call.may_repeat or not lost.sent
            else:
                if reply.status < HTTPStatus.MULTIPLE_CHOICES or reply.status in call.expected:
                    return Reply(status=reply.status, body=reply.body, headers=reply.headers, uncertain=uncertain)
                failure = of_problem(reply.status, reply.body, self._where(call))
                may_repeat, asked = _may_pass(call, reply, tries), _retry_after(reply.headers)
                uncertain = uncertain or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            pause = max(asked, min(_FIRST_PAUSE * 2**tries, _LONGEST_PAUSE)) * random.uniform(1, 1.2)  # noqa: S311 - spreads repetitions
            failing_since = failing_since or time.monotonic()
            if not may_repeat or time.monotonic() + pause >= min(deadline, failing_since + patience):
                raise failure
            self._tries.failed(failure)
            log.info("request repeated", path=call.path, tries=tries, reason=str(failure))
            await asyncio.sleep(pause)

    async def lines(self, call: Call, within: float) -> AsyncIterator[bytes]:
        """Yield the lines of a stream; the stream ends when the server has sent nothing for ``within`` seconds.

        Raises:
            JobQueueError: the problem that the server names in place of a stream.
            ServerUnreachableError: there is no stream, or it has broken off.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=within)
        try:
            async with self._request(call, dict(call.headers), timeout) as response:
                if response.status != HTTPStatus.OK:
                    body = _parsed(response, await response.read(), self._where(call))
                    raise of_problem(response.status, body, self._where(call))
                async for line in response.content:
                    yield line
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ServerUnreachableError(f"{self._where(call)}: the stream has broken off: {_told(error)}") from None

    async def _try(self, call: Call, headers: Mapping[str, str], deadline: float) -> Reply:
        seconds = min(self._tries.seconds + call.wait, max(deadline - time.monotonic(), 0.0))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, seconds))
        try:
            async with asyncio.timeout(seconds), self._request(call, headers, timeout) as response:
                body = await response.read()
        except aiohttp.ClientSSLError as error:
            # Another try would find the same certificate.
            raise ServerUnreachableError(f"{self._where(call)}: {_told(error)}") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _LostError(_told(error), sent=False) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _LostError(_told(error), sent=True) from None
        parsed = await _parsed_aside(response, body, self._where(call))
        return Reply(status=response.status, body=parsed, headers=response.headers)

    def _request(
        self, call: Call, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        try:
            query = f"?{urlencode(call.query)}" if call.query else ""
        except UnicodeEncodeError:
            raise InvalidInputError({"query": ["has a lone surrogate, which is not Unicode text"]}) from None
        sent = {**headers, **tracing.headers(), **self._authorization(call)}
        data = None
        if call.body is not None:
            sent.setdefault("Content-Type", "application/json")
            data = _written(call.body)
        return self._session(call).request(
            call.method,
            URL(f"{self.base}{call.path}{query}", encoded=True),
            data=data,
            headers=sent,
            timeout=timeout,
            allow_redirects=False,
        )

    def _authorization(self, call: Call) -> dict[str, str]:
        if call.claim is not None:
            return {"Authorization": f"Claim {call.claim}"}
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    def _session(self, call: Call) -> aiohttp.ClientSession:
        """Return the connections for a request.

        A request that must not be repeated gets a new connection: one that was idle may be closed by the server at this
        moment, and nobody would know whether the request has arrived.
        """
        self._move_in()
        fresh = not call.may_repeat
        if fresh not in self._sessions:
            connector = self._tries.connector(force_close=fresh, limit=100)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            # Its own repetition would hide that an earlier try may have been carried out.
            session._retry_connection = False  # noqa: SLF001 - aiohttp has no other switch
            self._sessions[fresh] = session
        return self._sessions[fresh]

    def _move_in(self) -> None:
        """Leave connections alone that belong to another event loop, or to the parent of a forked process."""
        home = os.getpid(), asyncio.get_running_loop()
        if self._home != home:
            # Kept, because the end of its objects would close sockets that both processes share.
            self._abandoned += self._sessions.values()
            self._sessions, self._home = {}, home

    def _where(self, call: Call) -> str:
        return f"{call.method} {self.base}{call.path}"


def segment(text: object) -> str:
    """Return a variable part of a path, quoted.

    Raises:
        InvalidInputError: no path can have it.
    """
    if not isinstance(text, str) or text in {"", ".", ".."}:
        raise InvalidInputError({"path": [f"cannot have {text!r} as a part"]})
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidInputError({"path": ["has a lone surrogate, which is not Unicode text"]}) from None


def _may_pass(call: Call, reply: Reply, tries: int) -> bool:
    """Return True if a request may be repeated after this reply, with the hope of another one."""
    slug = str(reply.body.get("type", "")).rpartition("/")[2] if isinstance(reply.body, dict) else ""
    if reply.status == HTTPStatus.CONFLICT:
        return call.keyed and slug == _IN_FLIGHT
    if reply.status not in _PASSING or (reply.status == HTTPStatus.INTERNAL_SERVER_ERROR and tries >= _MOST_MISTAKES):
        return False
    return call.may_repeat or slug in _NOT_BEGUN or reply.status == HTTPStatus.TOO_MANY_REQUESTS


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


async def _parsed_aside(response: aiohttp.ClientResponse, body: bytes, where: str) -> Any:
    # A large body takes a while to parse.
    if len(body) < 1024 * 1024:
        return _parsed(response, body, where)
    return await asyncio.to_thread(_parsed, response, body, where)


def _parsed(response: aiohttp.ClientResponse, body: bytes, where: str) -> Any:
    """Return the JSON of a body, or the text of a body that is no JSON of a success.

    Raises:
        UnexpectedReplyError: a success is no JSON.
    """
    if not body:
        return None
    try:
        if "json" in response.content_type:
            return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    text = body[:2000].decode(errors="replace")
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        raise UnexpectedReplyError(response.status, f"{where}: the reply is no JSON: {' '.join(text.split())[:300]}")
    return text


def _written(body: Any) -> bytes:
    """Return a body as JSON.

    Raises:
        InvalidInputError: it cannot be.
    """
    try:
        try:
            return orjson.dumps(body)
        except TypeError:
            # Whole numbers beyond 64 bit.
            return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError({"body": [f"cannot be JSON: {error}"]}) from None


def _told(error: BaseException) -> str:
    return str(error) or ("it takes too long" if isinstance(error, TimeoutError) else type(error).__name__)


def _checked_url(url: Any) -> str:
    if not url:
        raise InvalidInputError({"url": [f"is missing: give the URL of the server, or set {URL_VARIABLE}"]})
    try:
        parts = URL(url)
        usable = parts.scheme in {"http", "https"} and _is_host(parts.host) and not _STRANGE.search(url)
    except (TypeError, ValueError):
        usable = False
    if not usable:
        raise InvalidInputError({"url": ["must be an http or https URL such as http://localhost:8080"]})
    if parts.user is not None or parts.password is not None:
        raise InvalidInputError({"url": ["must not carry a user name or password: give a token"]})
    return str(url).rstrip("/")


def _is_host(host: str | None) -> bool:
    """Tell whether a host can have an address."""
    if host is None or "%" in host:
        return False
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def _checked_token(token: object) -> str | None:
    if not isinstance(token, str) or not token.isascii() or not token.strip().isprintable():
        raise InvalidInputError({"token": ["must be printable ASCII text"]})
    return token.strip() or None
