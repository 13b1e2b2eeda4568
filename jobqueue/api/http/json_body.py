"""The reader of request bodies: strict JSON within limits of size, depth and time."""

from __future__ import annotations

import asyncio
import json
import math
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from jobqueue.api.http.json_reply import JSON
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.schemas.fields import load
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from marshmallow import Schema

MOST_BODY: Final = 8 * 1024 * 1024
"""Bytes of a request body, after decompression."""
MOST_BATCH_BODY: Final = 64 * 1024 * 1024
"""The same for the jobs of a batch."""
DEEPEST: Final = 128
"""Levels of nesting in a body: those of ``data``, and of the children around it."""
READ_SECONDS: Final = 10.0
_ENCODINGS: Final = frozenset({"", "identity", "gzip", "x-gzip", "deflate", "br", "zstd"})
_LARGE_BODY: Final = 256 * 1024
_CLOSE: Final = {"Connection": "close"}
_WHOLE_DIGITS: Final = 20
_BEYOND: Final = 10**30
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_AS_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_BETWEEN_BRACKETS: Final = (ord("[") + ord("]")) // 2
_NO_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")


async def read_body(request: web.Request, schema: type[Schema], *, optional: bool = False) -> dict[str, Any]:
    """Return the fields of a request's body; raises as `read_object` and `load` do."""
    return load(schema, await read_object(request, optional=optional))


async def read_object(
    request: web.Request, *, optional: bool = False, most: int = MOST_BODY, media_types: Collection[str] = (JSON,)
) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Args:
        request: with the body.
        optional: a missing body is an empty object.
        most: bytes of the body, if the application does not allow more.
        media_types: that the body may be declared as.

    Raises:
        ProblemError: 400 no JSON, or ambiguous JSON; 408 the body is too slow; 413 too large; 415 not declared as JSON.
        InvalidInputError: the JSON value is no object.
    """
    most = max(most, request.client_max_size)
    if (request.content_length or 0) > most:
        raise _too_large(most)
    if not request.body_exists:
        if optional:
            return {}
        raise _bad("is empty; send a JSON object")
    _check_media_type(request, media_types)
    body = await read_bytes(request, most)
    # A large body takes a second to parse: other requests have their turn meanwhile.
    value = parse(body) if len(body) < _LARGE_BODY else await asyncio.to_thread(parse, body)
    if not isinstance(value, dict):
        raise InvalidInputError({"body": ["must be a JSON object"]})
    return value


def parse(body: bytes) -> Any:
    """Return the value of a JSON text; whole numbers far beyond 64 bit become 10^30 or -10^30.

    Raises:
        ProblemError: invalid UTF-8, a byte order mark, broken JSON, duplicate names, NaN, numbers no float can hold,
            lone surrogates, nesting beyond `DEEPEST`.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"is not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise _bad("begins with a byte order mark; leave it out")
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(body)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_float=_float, parse_int=_whole, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise _bad(f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at line {error.lineno}") from None
    except RecursionError:
        raise _too_deep() from None
    if _SURROGATE.search(body):
        _check_surrogates(value)
    return value


async def read_bytes(request: web.Request, most: int) -> bytes:
    """Return the whole body of a request.

    Raises:
        ProblemError: 400 it breaks off; 408 it is too slow; 413 it has more bytes than ``most``.
    """
    bounded = request if most == request.client_max_size else request.clone(client_max_size=most)
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await bounded.read()
    except TimeoutError:
        detail = f"the body did not arrive within {READ_SECONDS:g} seconds"
        raise ProblemError(408, "request-timeout", "Request timeout", detail, _CLOSE) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(most) from None
    except (ClientPayloadError, web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise _bad("could not be read: it is cut off, or its transfer or content encoding is broken") from None


def _check_media_type(request: web.Request, media_types: Collection[str]) -> None:
    types = request.headers.getall("Content-Type", [])
    encodings = {encoding.strip().lower() for encoding in request.headers.get("Content-Encoding", "").split(",")}
    if not encodings <= _ENCODINGS:
        raise _unsupported("the body may be encoded with gzip or deflate, or not at all")
    name, *parameters = (part.strip().lower() for part in (types[0] if len(types) == 1 else "").split(";"))
    if name not in media_types or not set(parameters) <= {"charset=utf-8", 'charset="utf-8"'}:
        raise _unsupported(f"the body must be JSON in UTF-8: send Content-Type: {' or '.join(media_types)}")


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting without recursion: an opening bracket is a step down, a closing bracket a step up."""
    brackets = _STRINGS.sub(b"", body).translate(_AS_ONE_KIND, _NO_BRACKETS)
    if max(accumulate(map(_BETWEEN_BRACKETS.__sub__, brackets)), default=0) > DEEPEST:
        raise _too_deep()


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _bad("has a lone surrogate, which is not Unicode text") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _bad(f"has the name {name!a:.80} twice in one object")
            seen.add(name)
    return made


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _bad(f"has a number that is out of range: {text:.40}")
    return number


def _whole(text: str) -> int:
    if len(text) <= _WHOLE_DIGITS:
        return int(text)
    return -_BEYOND if text.startswith("-") else _BEYOND


def _constant(text: str) -> NoReturn:
    raise _bad(f"has {text}, which JSON does not know")


def _unsupported(detail: str) -> ProblemError:
    return ProblemError(415, "unsupported-media-type", "Unsupported media type", detail)


def _bad(reason: str) -> ProblemError:
    return ProblemError(400, "bad-body", "The body cannot be understood", f"the body {reason}")


def _too_deep() -> ProblemError:
    return _bad(f"is nested deeper than {DEEPEST} levels")


def _too_large(most: int) -> ProblemError:
    return ProblemError(413, "too-large", "Too large", f"the body takes more than {most:,} bytes", _CLOSE)
