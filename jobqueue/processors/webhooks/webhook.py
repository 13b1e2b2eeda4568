"""Run a job by a POST to a URL; the reply decides the outcome."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import orjson

from jobqueue import tracing
from jobqueue.domain.access.masking import without_path, without_query
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import JobCancelledError, StepError
from jobqueue.domain.work.verdict import Accepted, Failure, Success, Suspension, Verdict
from jobqueue.processors.reported_steps import job_with_results
from jobqueue.processors.webhooks import kept_connections, replies, reply_steps, signing
from jobqueue.processors.webhooks.addresses import AddressGuard, check_url, request_target
from jobqueue.processors.webhooks.kept_connections import KeptConnections
from jobqueue.processors.webhooks.replies import Reply
from jobqueue.processors.webhooks.webhook_errors import CONNECT_SECONDS, fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from aiohttp.abc import AbstractResolver
    from yarl import URL

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.processing import WebhookConfig
    from jobqueue.domain.work.verdict import Reporter, StepReporter
    from jobqueue.processors.webhooks.addresses import Network


def _version() -> str:
    try:
        return metadata.version("jobqueue")
    except metadata.PackageNotFoundError:
        return "unknown"


_USER_AGENT: Final = f"jobqueue/{_version()}"
_MISHAPS: Final = (aiohttp.ClientError, OSError, ValueError)
_STOP_SECONDS: Final = 5.0
_LONGEST_HEADER: Final = 100 * 1024
"""Bytes of one header of a reply; beyond that the client fails, and the status is lost."""
_MOST_HEADERS: Final = 200
_LARGE_BODY: Final = 1024 * 1024
STALE_SECONDS: Final = 2.0
"""Seconds within which a kept connection shows that its receiver had closed it.

After that the receiver had the request, and broke off its work.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sessions:
    """Ways to send a request: over a kept connection, if there is one, or over a connection of its own."""

    kept: aiohttp.ClientSession
    fresh: aiohttp.ClientSession


class WebhookClient:
    """Sends the webhooks of one process over connections that are kept for a few seconds.

    The client uses no cookies, proxies or credentials from the environment, and follows no redirects. Every connection
    passes an `AddressGuard`.
    """

    def __init__(
        self, *, allow: Sequence[Network] = (), ports: Sequence[int] = (), resolver: AbstractResolver | None = None
    ) -> None:
        """Allow targets besides public addresses on ports 80 and 443.

        Args:
            allow: networks that may be reached on any port although they are not public.
            ports: further ports of public addresses.
            resolver: of host names; the system's by default.
        """
        self.stop_seconds = _STOP_SECONDS
        self._guard = AddressGuard(allow=allow, ports=ports)
        self._resolver = resolver
        self._sessions: _Sessions | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Open the client in the running event loop, once."""
        if self._sessions is None:
            # The dispatcher limits the running jobs; with a limit here requests would time out while they queue.
            options: dict[str, Any] = {
                "socket_factory": self._guard.open_socket,
                "resolver": self._resolver or aiohttp.ThreadedResolver(),
                "use_dns_cache": False,
                "limit": 0,
            }
            kept, fresh = KeptConnections(**options), aiohttp.TCPConnector(force_close=True, **options)
            self._sessions = _Sessions(kept=_session(kept), fresh=_session(fresh))

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        sessions, self._sessions = self._sessions, None
        if sessions is not None:
            await sessions.kept.close()
            await sessions.fresh.close()

    def processor(self, config: WebhookConfig, token: str) -> WebhookProcessor:
        """Return the processor of one claimed job.

        Args:
            config: the URL, its secrets, headers and timeout.
            token: of the claim; the receiver can finish the job with it.

        Raises:
            RuntimeError: the client is not started.
        """
        if self._sessions is None:
            raise RuntimeError("the webhook client is not started")
        return WebhookProcessor(self._sessions, config, token)

    def message(self, config: WebhookConfig, body: Mapping[str, Any]) -> MessageProcessor:
        """Return the processor of a job that is a message: its receiver gets this body, and no token.

        Args:
            config: as for `processor`.
            body: JSON.

        Raises:
            RuntimeError: the client is not started.
        """
        if self._sessions is None:
            raise RuntimeError("the webhook client is not started")
        return MessageProcessor(self._sessions, config, body)


def _session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        raise_for_status=False,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
        max_headers=_MOST_HEADERS,
    )


class WebhookProcessor:
    """Runs one claimed job by one request."""

    def __init__(self, sessions: _Sessions, config: WebhookConfig, token: str) -> None:
        self._sessions = sessions
        self._config = config
        self._token = token
        self.stop_seconds = _STOP_SECONDS

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        """Send the job, keep the steps of the reply, and turn the reply, or its absence, into a verdict.

        Every error on the way is a `Failure`; cancelling closes the connection. No error shows the query of the URL,
        which may be a secret, even if the receiver quotes the query.
        """
        try:
            return _masked(await self._run(job, reporter.steps), self._config.url, without_query)
        except JobCancelledError:
            raise asyncio.CancelledError from None

    async def _run(self, job: Job, steps: StepReporter) -> Verdict:
        began = asyncio.get_running_loop().time()
        reply = await self.exchange(signing.message_id(job), lambda: self._body(job, steps))
        if isinstance(reply, Failure):
            return reply
        return await self._judged(reply, steps, asyncio.get_running_loop().time() - began)

    async def exchange(self, identifier: str, make: Callable[[], bytes]) -> Reply | Failure:
        """Send one signed request, and return its reply, or the reason why there is none.

        Args:
            identifier: the ``webhook-id``.
            make: returns the body.
        """
        secrets = self._config.secrets
        if not secrets:
            message = "the webhook has no secret to sign with; configure it again and one is made"
            return Failure(error=JobError(kind="no-secret", message=message))
        host = "the host"
        until = asyncio.get_running_loop().time() + self._config.timeout
        try:
            host = check_url(self._config.url)
            target = request_target(self._config.url)
            body = make()
            signature = signing.headers(secrets, identifier, datetime.now(UTC), body)
            with tracing.request("POST", host, target.explicit_port) as span:
                async with asyncio.timeout_at(until):
                    response = await self._send(target, body, self._headers(signature))
                span.answered(response.status)
        except _MISHAPS as error:
            return fault(error, host, self._config.timeout)
        return await self._receive(response, host, until)

    def _body(self, job: Job, steps: StepReporter) -> bytes:
        return orjson.dumps({"job": job_with_results(job, steps), "token": self._token, "attempt": job.attempts_made})

    async def _judged(self, reply: Reply, steps: StepReporter, seconds: float) -> Verdict:
        verdict = replies.judge(reply, datetime.now(UTC))
        try:
            results, calls = replies.steps(reply), replies.calls(reply)
            return await reply_steps.keep(verdict, results, steps, seconds=seconds, calls=calls)
        except StepError as error:
            return reply_steps.spoilt(verdict, error)

    async def _send(self, target: URL, body: bytes, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """Send a request; once more over a fresh connection, if the receiver had closed the kept one.

        The receiver may have taken the first request all the same: the second one has the same ``webhook-id``.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        kept_connections.begin()
        try:
            return await self._post(self._sessions.kept, target, body, headers)
        except (aiohttp.ClientConnectionError, OSError):
            if not kept_connections.was_stale() or clock() - began > STALE_SECONDS:
                raise
        return await self._post(self._sessions.fresh, target, body, headers)

    async def _post(
        self, session: aiohttp.ClientSession, target: URL, body: bytes, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        return await session.post(
            target,
            # Of bytes beyond 1 MiB aiohttp warns, and sends them in one piece. It looks for the end of a file in a
            # thread: a reply may come before that, and then the connection is not kept.
            data=body if len(body) < _LARGE_BODY else io.BytesIO(body),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_SECONDS, self._config.timeout)),
            allow_redirects=False,
        )

    async def _receive(self, response: aiohttp.ClientResponse, host: str, until: float) -> Reply:
        received = bytearray()
        reply = Reply(
            status=response.status,
            reason=response.reason or "",
            # The first one of a repeated header counts.
            headers={name.lower(): value for name, value in reversed(list(response.headers.items()))},
        )
        try:
            async with asyncio.timeout_at(until):
                await _read(response, received, reply.limit)
        except _MISHAPS as error:
            broken = fault(error, host, self._config.timeout)
            reply = replace(reply, fault=replace(broken, code=response.status))
        finally:
            response.close()
        return replace(reply, body=bytes(received))

    def _headers(self, signature: dict[str, str]) -> dict[str, str]:
        """Return the headers to send; a configured header cannot replace a header that the exchange depends on."""
        own = {"Content-Type": "application/json", "Accept-Encoding": "identity", **signature}
        taken = {name.lower() for name in own}
        configured = {name: value for name, value in self._config.headers.items() if name.lower() not in taken}
        agent = {} if any(name.lower() == "user-agent" for name in configured) else {"User-Agent": _USER_AGENT}
        there = taken | {name.lower() for name in configured}
        passed_on = {name: value for name, value in tracing.headers().items() if name not in there}
        return {**configured, **agent, **passed_on, **own}


class MessageProcessor(WebhookProcessor):
    """Sends one message. Any status from 200 to 299 is a success; nothing in the body of a reply decides.

    No error shows the path of the URL either: those who may read messages do not see it.
    """

    def __init__(self, sessions: _Sessions, config: WebhookConfig, body: Mapping[str, Any]) -> None:
        super().__init__(sessions, config, "")
        self._message = orjson.dumps(body)

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        """Send the message, as every webhook."""
        return _masked(await super().run(job, reporter), self._config.url, without_path)

    def _body(self, job: Job, steps: StepReporter) -> bytes:  # noqa: ARG002 - as every webhook
        return self._message

    async def _judged(self, reply: Reply, steps: StepReporter, seconds: float) -> Verdict:  # noqa: ARG002 - as above
        if reply.is_success:
            return Success(code=reply.status)
        return replies.by_status(reply, datetime.now(UTC))


def _masked(verdict: Verdict, url: str, without: Callable[[str, str], str]) -> Verdict:
    if isinstance(verdict, Success | Suspension | Accepted) or verdict.error is None:
        return verdict
    error = verdict.error
    trace = None if error.trace is None else without(error.trace, url)
    return replace(verdict, error=replace(error, message=without(error.message, url), trace=trace))


async def _read(response: aiohttp.ClientResponse, received: bytearray, limit: int) -> None:
    """Add the body to the received bytes up to the limit, so that a reply that breaks off counts, too."""
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > limit:
            return
