"""A call of the API that a form makes, and the command that makes it elsewhere."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from aiohttp import hdrs

if TYPE_CHECKING:
    from collections.abc import Mapping

IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of the API.

    Attributes:
        method: such as ``POST``.
        path: with its parameters quoted.
        body: as JSON; ``None`` for none.
        query: parameters.
        match: the entity tag that the subject must have; empty for any.
        key: the same key again is the same request; empty for none.
        is_new: the subject must not be there yet.
    """

    method: str
    path: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    match: str = ""
    key: str = ""
    is_new: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers about the subject and about repetitions."""
        match = {hdrs.IF_MATCH: f'"{self.match}"'} if self.match else {}
        match |= {hdrs.IF_NONE_MATCH: "*"} if self.is_new else {}
        return match | ({IDEMPOTENCY_KEY: self.key} if self.key else {})

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()

    def as_curl(self, server: str, *, is_open: bool) -> str:
        """Return the command that makes this call on any computer.

        Args:
            server: the origin of the server.
            is_open: the server needs no token.
        """
        parts = ["curl"] if self.method == hdrs.METH_GET else ["curl", "-X", self.method]
        if not is_open:
            parts.append('-H "Authorization: Bearer $JOBQUEUE_API_TOKEN"')
        if self.match:
            parts += ["-H", shlex.quote(f'If-Match: "{self.match}"')]
        if self.is_new:
            parts += ["-H", "'If-None-Match: *'"]
        if self.body is not None:
            parts += ["-H", "'Content-Type: application/json'", "-d", shlex.quote(self.content.decode())]
        query = f"?{urlencode(self.query)}" if self.query else ""
        return " ".join([*parts, shlex.quote(f"{server}{self.path}{query}")])
