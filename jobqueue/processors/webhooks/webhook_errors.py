"""Turn a failed webhook request into a verdict."""

from __future__ import annotations

import os
from typing import Final

import aiohttp

from jobqueue.domain.access.masking import masked_text
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.work.verdict import Failure
from jobqueue.processors.webhooks.addresses import BlockedAddressError, BlockedPortError, UnusableURLError

CONNECT_SECONDS: Final = 5.0
"""Seconds that a connection may take to be established."""
_MOST_SHOWN: Final = 300


def fault(error: Exception, host: str, timeout: float) -> Failure:
    """Return the failure of a request without a whole reply.

    The message about a refused address does not tell what is at the address.

    Args:
        error: of the request.
        host: of the URL.
        timeout: seconds of the whole request.
    """
    kind, message = _explain(error, shown(host), timeout)
    return Failure(error=JobError(kind=kind, message=message), timed_out=kind == "timeout")


def shown(text: str) -> str:
    """Return foreign text fit for a message: one line, not too long."""
    cut = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
    return "".join(char if char.isprintable() else "?" for char in cut)


def _explain(error: Exception, host: str, timeout: float) -> tuple[str, str]:
    match error:
        case UnusableURLError() | aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            said = "invalid-url", f"the webhook's URL cannot be used: {shown(_said(error))}"
        case aiohttp.ClientConnectorError(os_error=BlockedAddressError() as cause):
            said = "blocked-address", _blocked(host, cause)
        case aiohttp.ConnectionTimeoutError():
            said = "timeout", f"no connection to {host} within {min(CONNECT_SECONDS, timeout):g} s"
        case TimeoutError():
            said = "timeout", f"no whole reply from {host} within {timeout:g} s"
        case aiohttp.ClientResponseError():
            said = "invalid-reply", f"{host} did not answer in HTTP: {shown(masked_text(_first_line(error.message)))}"
        case _:
            said = "connection", _disconnected(host, error)
    return said


def _said(error: Exception) -> str:
    """Return the mistake in a URL, without the URL, whose query may be a secret."""
    if isinstance(error, UnusableURLError):
        return str(error)
    return getattr(error, "description", None) or "it cannot be read"


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip(": ")


def _blocked(host: str, cause: BlockedAddressError) -> str:
    if isinstance(cause, BlockedPortError):
        return (
            f"webhooks may not reach this port of {host}: add the port to JOBQUEUE_WEBHOOK_PORTS, "
            "or the network to JOBQUEUE_WEBHOOK_ALLOW"
        )
    return f"{host} has no public address: to let webhooks reach it, add its network to JOBQUEUE_WEBHOOK_ALLOW"


def _disconnected(host: str, error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            said = f"the name {host} cannot be resolved"
        case aiohttp.ClientConnectorCertificateError():
            said = f"no secure connection to {host}: {shown(str(error.certificate_error))}"
        case aiohttp.ClientSSLError():
            said = f"no secure connection to {host}: {shown(str(error.os_error))}"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int() as number)):
            said = f"no connection to {host}: {os.strerror(number)}"
        case aiohttp.ClientConnectorError():
            said = f"no connection to {host} by any of its addresses"
        case aiohttp.ClientPayloadError():
            said = f"{host} broke off its reply"
        case aiohttp.ClientConnectionError():
            said = f"{host} broke off the connection"
        case _:
            said = f"the request to {host} could not be made: {shown(masked_text(str(error)))}"
    return said
