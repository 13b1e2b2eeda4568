"""Request the health of a server on this machine, over HTTP or HTTPS."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobqueue.cli.running import sockets
from jobqueue.cli.running.serve import serve
from jobqueue.domain.errors import JobQueueError, SettingsError
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIRST: Final = Path("/proc/1/cmdline")
_OK: Final = 200
_MOST: Final = 65_536


class UnhealthyError(JobQueueError):
    """A server that does not answer or is not healthy."""

    slug = "unwell"


def ask(flags: Mapping[str, str | None], *, ready: bool, timeout: float) -> str:
    """Return the status that a server reports.

    Args:
        flags: of ``host``, ``port``, ``tls_cert`` and ``tls_key``; they win over those of process 1.
        ready: ask for readiness instead of liveness.
        timeout: seconds.

    Raises:
        SettingsError: with every mistake, or because the port is not known.
        UnhealthyError: the server does not answer, or is not healthy.
    """
    settings = Settings.load(serve_flags(_FIRST, flags) | {name: text for name, text in flags.items() if text})
    if settings.port == 0:
        raise SettingsError(["port: is 0, so that serve has taken a free one: name it by --port"])
    host = sockets.local_host(settings.host)
    where = f"{'https' if settings.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{settings.port}"
    try:
        status, body = _get(settings, host, "/readyz" if ready else "/healthz", timeout)
    except TimeoutError:
        raise UnhealthyError(f"{where} does not answer within {timeout:g} seconds") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnhealthyError(f"{where} does not answer: {str(error) or type(error).__name__}") from None
    told = _told(body)
    if status != _OK:
        raise UnhealthyError(f"{where} is not well: {told.get('detail') or f'it answers with status {status}'}")
    if told.get("status") != ("ready" if ready else "ok"):
        raise UnhealthyError(f"{where} is not a jobqueue server")
    return str(told["status"])


def serve_flags(first: Path, settings: Mapping[str, object]) -> dict[str, Any]:
    """Return flags that the first process of a container gives to ``serve``.

    Args:
        first: the file with the arguments of that process.
        settings: the names of these flags.
    """
    try:
        words = first.read_bytes().decode(errors="surrogateescape").rstrip("\0").split("\0")
    except OSError:
        return {}
    for index, word in enumerate(words[:-1]):
        is_ours = Path(word).name == "jobqueue" or (word == "jobqueue" and words[index - 1] == "-m")
        if is_ours and words[index + 1] == "serve":
            return _parsed(words[index + 2 :], settings)
    return {}


def _parsed(words: Sequence[str], settings: Mapping[str, object]) -> dict[str, Any]:
    context = serve.make_context("serve", list(words), resilient_parsing=True)
    return {name: text for name, text in context.params.items() if name in settings and text is not None}


def _get(settings: Settings, host: str, path: str, timeout: float) -> tuple[int, bytes]:
    if settings.tls_cert is None:
        connection = http.client.HTTPConnection(host, settings.port, timeout=timeout)
    else:
        connection = http.client.HTTPSConnection(host, settings.port, timeout=timeout, context=_trusting())
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST)
    finally:
        connection.close()


def _trusting() -> ssl.SSLContext:
    """Return a context that takes any certificate: those of servers name no loopback address, and no secret is sent."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _told(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
