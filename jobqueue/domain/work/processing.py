"""Processors of the jobs of a queue: webhooks and named commands."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from jobqueue.domain.access.masking import MASK
from jobqueue.domain.durations import is_number
from jobqueue.domain.errors import InvalidInputError, Problems

ANY_TYPE: Final = "*"
MOST_PREVIOUS: Final = 4
"""Secrets of a webhook that sign besides the current secret."""
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_DENIED_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "te", "trailer"}
    | {"upgrade", "expect", "proxy-authorization", "proxy-authenticate", "proxy-connection"}
)
LONGEST_TIMEOUT: Final = 3600
LONGEST_PING: Final = 30.0
"""Seconds that a test of a webhook may take; a webhook with a shorter timeout has that."""
_SHORTEST_SECRET: Final = 24
_LONGEST_SECRET: Final = 64
_COMMAND_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
SECRET_FORM: Final = "must be whsec_ and the base64 of 24 to 64 random bytes"  # noqa: S105 - a message
_ATTRIBUTES: Final = {"previousSecrets": "previous_secrets"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Process jobs by POSTing them to a URL.

    Attributes:
        secret: ``whsec_`` and base64 of 24 to 64 random bytes (Standard Webhooks 1.0); for ``None``, one is made.
        previous_secrets: during a rotation they sign too, so that receivers can change over one by one.
        headers: further headers, except those that HTTP or the signature need.
        timeout: seconds for one whole request.
    """

    url: str
    secret: str | None = None
    previous_secrets: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30

    def __post_init__(self) -> None:
        problems: Problems = {}
        _check_url(self.url, problems)
        if self.secret is not None and not _is_secret(self.secret):
            problems["secret"] = [SECRET_FORM]
        _check_previous(self.previous_secrets, problems)
        _check_headers(self.headers, problems)
        if not is_number(self.timeout) or not 0 < self.timeout <= LONGEST_TIMEOUT:
            problems["timeout"] = [f"must be more than 0 and at most {LONGEST_TIMEOUT} seconds"]
        if problems:
            raise InvalidInputError(problems)
        object.__setattr__(self, "previous_secrets", tuple(self.previous_secrets))

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secrets to sign with, the current one first."""
        return () if self.secret is None else (self.secret, *self.previous_secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """Process jobs by a named command of the server's own command file."""

    name: str

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not _COMMAND_NAME.fullmatch(name):
            raise InvalidInputError({"name": ["must be 1 to 100 letters, digits, _ . or -"]})


ProcessorConfig = WebhookConfig | CommandConfig


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
    rest = {_ATTRIBUTES.get(name, name): inner for name, inner in value.items() if name != "kind"}
    if unknown := [str(name) for name in value if name in _ATTRIBUTES.values()]:
        raise InvalidInputError({path: [f"has missing or unknown fields: {', '.join(unknown)}"]})
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
    elif MASK in str(url):
        problems["url"] = ["has the mask that is shown instead of a part of it: send the whole URL, or none"]
    elif parts.username is not None or parts.password is not None:
        problems["url"] = ["must not carry a user name or password; use a header"]


def _is_secret(secret: object) -> bool:
    if not isinstance(secret, str) or not secret.startswith("whsec_"):
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _SHORTEST_SECRET <= len(key) <= _LONGEST_SECRET


def _check_previous(secrets: object, problems: Problems) -> None:
    if not isinstance(secrets, list | tuple) or len(secrets) > MOST_PREVIOUS:
        problems["previousSecrets"] = [f"must be a list of at most {MOST_PREVIOUS} secrets"]
        return
    for index, secret in enumerate(secrets):
        if not _is_secret(secret):
            problems[f"previousSecrets.{index}"] = [SECRET_FORM]


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
    elif value == MASK:
        problems[path] = ["is the mask that is shown instead of the value: send the value"]
    elif not isinstance(value, str) or not value.isascii() or not (value == "" or value.isprintable()):
        problems[path] = ["must be printable ASCII text"]
