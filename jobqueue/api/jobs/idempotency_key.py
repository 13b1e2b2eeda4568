"""The ``Idempotency-Key`` of a request (draft-ietf-httpapi-idempotency-key-header-07)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.security.caller import caller
from jobqueue.domain.errors import InvalidInputError
from jobqueue.services.workflow.idempotency import KeyedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

HEADER: Final = "Idempotency-Key"
_DIGITS: Final = 32
_FORM: Final = re.compile(r"[\x20-\x7e]{1,255}")


async def keyed_request(request: web.Request, body: Mapping[str, Any]) -> KeyedRequest | None:
    """Return the key of a request and the digest of its body, or ``None`` without a key.

    Raises:
        InvalidInputError: the key has another form.
    """
    if (key := _key(request)) is None:
        return None
    # A large body takes a while: other requests have their turn meanwhile.
    digest = await asyncio.to_thread(_digest, request.path, body)
    by = caller(request)
    return KeyedRequest(key=f"{by.token_id or by.name}\n{key}", digest=digest)


def claim_key(request: web.Request, worker: str) -> str | None:
    """Return what identifies the claim of a worker among those of all callers; ``None`` without a key.

    Raises:
        InvalidInputError: the key has another form.
    """
    if (key := _key(request)) is None:
        return None
    by = caller(request)
    return hashlib.sha256(f"{by.token_id or by.name}\n{worker}\n{key}".encode()).hexdigest()[:_DIGITS]


def report_id(request: web.Request) -> str | None:
    """Return what identifies a report among those of its claim; ``None`` without a key.

    Raises:
        InvalidInputError: the key has another form.
    """
    key = _key(request)
    return None if key is None else hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]


def _key(request: web.Request) -> str | None:
    keys = request.headers.getall(HEADER, [])
    if not keys:
        return None
    if len(keys) > 1 or not _FORM.fullmatch(keys[0]):
        raise InvalidInputError({HEADER: ["must be 1 to 255 printable ASCII characters"]})
    return keys[0]


def _digest(path: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{path}\n{json.dumps(body, sort_keys=True)}".encode()).hexdigest()
