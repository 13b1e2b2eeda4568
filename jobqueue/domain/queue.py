"""How a queue is configured: defaults for its jobs, and what processes them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jobqueue.domain import backoff as backoffs
from jobqueue.domain.checks import check_number, gather
from jobqueue.domain.errors import InvalidInputError, Problems

if TYPE_CHECKING:
    from jobqueue.domain.backoff import Backoff
    from jobqueue.domain.job import NewJob

ANY_TYPE: Final = "*"
DEFAULTED: Final = ("priority", "attempts", "backoff", "lease", "timeout", "on_success_delete")
"""Fields of a job that its queue has defaults for."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_DENIED_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "te", "trailer"}
    | {"upgrade", "expect", "proxy-authorization", "proxy-authenticate", "proxy-connection"}
)
_LONGEST_TIMEOUT: Final = 3600
_SHORTEST_SECRET: Final = 24
_LONGEST_SECRET: Final = 64
_COMMAND_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Process jobs by POSTing them to a URL.

    Attributes:
        secret: ``whsec_`` and base64 of 24 to 64 random bytes (Standard Webhooks 1.0); ``None`` lets one be made.
        headers: sent along; not those that HTTP or the signature need.
        timeout: seconds for one whole request.
    """

    url: str
    secret: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30

    def __post_init__(self) -> None:
        problems: Problems = {}
        _check_url(self.url, problems)
        if self.secret is not None and not _is_secret(self.secret):
            problems["secret"] = ["must be whsec_ and the base64 of 24 to 64 random bytes"]
        _check_headers(self.headers, problems)
        _check_timeout(self.timeout, problems)
        if problems:
            raise InvalidInputError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """Process jobs by a named command of the server's own command file."""

    name: str

    def __post_init__(self) -> None:
        if not _is_command_name(self.name):
            raise InvalidInputError({"name": ["must be 1 to 100 letters, digits, _ . or -"]})


ProcessorConfig = WebhookConfig | CommandConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """The configuration of one queue; durations in seconds.

    Attributes:
        processors: by job type, `ANY_TYPE` for the rest.
    """

    paused: bool = False
    attempts: int = 3
    backoff: Backoff = backoffs.DEFAULT
    lease: float = 60
    timeout: float | None = None
    priority: int = 0
    on_success_delete: bool = False
    processors: Mapping[str, ProcessorConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems: Problems = {}
        for name in ("attempts", "lease", "timeout", "priority"):
            if name != "timeout" or self.timeout is not None:
                gather(problems, check_number, name, getattr(self, name))
        for kind in self.processors:
            if not 1 <= len(kind) <= 200 or not kind.isprintable() or kind.startswith("$"):  # noqa: PLR2004 - said in the message
                problems[f"processors.{kind[:80]}"] = ["must be a job type, or * for all others"]
        if problems:
            raise InvalidInputError(problems)

    def processor_for(self, kind: str) -> ProcessorConfig | None:
        """Return what processes jobs of a type, if this queue's configuration says."""
        return self.processors.get(kind) or self.processors.get(ANY_TYPE)

    def fill(self, new: NewJob) -> NewJob:
        """Give a new job this queue's defaults where it has no value of its own."""
        filled = copy(new)
        for name in DEFAULTED:
            if getattr(new, name) is None:
                # Both sides are checked already; replace() would check the whole job again.
                object.__setattr__(filled, name, getattr(self, name))
        return filled


def processor(value: Mapping[str, Any], path: str) -> ProcessorConfig:
    """Read a processor from its wire form.

    Raises:
        InvalidInputError: with the paths below ``path``.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError({path: ["must be an object"]})
    kinds: dict[str, type[WebhookConfig | CommandConfig]] = {"webhook": WebhookConfig, "command": CommandConfig}
    kind = value.get("kind")
    made = kinds.get(kind) if isinstance(kind, str) else None
    if made is None:
        raise InvalidInputError({f"{path}.kind": ["must be webhook or command"]})
    rest = {name: inner for name, inner in value.items() if name != "kind"}
    try:
        return made(**rest)
    except InvalidInputError as error:
        raise error.under(path) from None
    except TypeError:
        raise InvalidInputError({path: [f"has missing or unknown fields: {', '.join(map(str, rest))}"]}) from None


def _check_url(url: object, problems: Problems) -> None:
    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isprintable() and " " not in url else None
        usable = parts and parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        parts = usable = None
    if not usable or not parts:
        problems["url"] = ["must be an absolute http or https URL"]
    elif parts.username is not None or parts.password is not None:
        problems["url"] = ["must not carry a user name or password; use a header"]


def _check_timeout(timeout: object, problems: Problems) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= _LONGEST_TIMEOUT:
        problems["timeout"] = [f"must be more than 0 and at most {_LONGEST_TIMEOUT} seconds"]


def _is_command_name(name: object) -> bool:
    return isinstance(name, str) and bool(_COMMAND_NAME.fullmatch(name))


def _is_secret(secret: object) -> bool:
    if not isinstance(secret, str) or not secret.startswith("whsec_"):
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _SHORTEST_SECRET <= len(key) <= _LONGEST_SECRET


def _check_headers(headers: object, problems: Problems) -> None:
    if not isinstance(headers, Mapping):
        problems["headers"] = ["must be an object"]
        return
    for name, value in headers.items():
        _check_header(name, value, problems)


def _check_header(name: object, value: object, problems: Problems) -> None:
    path = f"headers.{name}"
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        problems[path] = ["is not the name of an HTTP header"]
    elif name.lower() in _DENIED_HEADERS or name.lower().startswith("webhook-"):
        problems[path] = ["is set by the sender itself"]
    elif not isinstance(value, str) or not value.isascii() or not (value == "" or value.isprintable()):
        problems[path] = ["must be printable ASCII text"]
