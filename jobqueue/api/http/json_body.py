"""The one reader of request bodies: strict JSON, within limits of size, depth and time."""

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
from jobqueue.api.http.problems import Problem, ProblemError
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_BODY: Final = 8 * 1024 * 1024
"""Bytes of a request body, after decompression."""
MOST_BATCH_BODY: Final = 64 * 1024 * 1024
"""The same for the jobs of a batch."""
DEEPEST: Final = 128
"""Levels of nesting in a body: what one ``data`` may have, and room for the children it belongs to."""
READ_SECONDS: Final = 10.0
_ENCODINGS: Final = frozenset({"", "identity", "gzip", "x-gzip", "deflate", "br", "zstd"})
_LARGE_BODY: Final = 256 * 1024
_WHOLE_DIGITS: Final = 20
_BEYOND: Final = 10**30
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_AS_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_BETWEEN_BRACKETS: Final = (ord("[") + ord("]")) // 2
_NO_BRACKETS: Final = bytes(code for code in range(256) if code not in b"[]{}")


async def read_object(
    request: web.Request, *, optional: bool = False, most: int = MOST_BODY, media_types: Collection[str] = (JSON,)
) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Args:
        request: whose body is read.
        optional: no body at all is an empty object.
        most: bytes that it may take.
        media_types: as which it may be declared.

    Raises:
        ProblemError: 400 not JSON, or JSON that could be understood in two ways; 408 it comes too slowly; 413 it is too
            large; 415 it is not declared as JSON.
        InvalidInputError: another JSON value than an object.
    """
    if (request.content_length or 0) > most:
        raise _too_large(most)
    if not request.body_exists:
        if optional:
            return {}
        raise _bad("is empty; send a JSON object")
    _check_media_type(request, media_types)
    body = await _read(request, most)
    # A large body takes a second to parse: other requests have their turn meanwhile.
    given = parse(body) if len(body) < _LARGE_BODY else await asyncio.to_thread(parse, body)
    if not isinstance(given, dict):
        raise InvalidInputError({"body": ["must be a JSON object"]})
    return given


def parse(body: bytes) -> Any:
    """Return the value of a JSON text; whole numbers far beyond 64 bit become other ones far beyond 64 bit.

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


async def _read(request: web.Request, most: int) -> bytes:
    asked = request if most == MOST_BODY else request.clone(client_max_size=most)
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await asked.read()
    except TimeoutError:
        raise ProblemError(
            Problem(
                status=408,
                slug="request-timeout",
                title="Request timeout",
                detail=f"the body did not arrive within {READ_SECONDS:g} seconds",
                headers={"Connection": "close"},
            )
        ) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large(most) from None
    except (ClientPayloadError, web.RequestPayloadError, HttpProcessingError, ConnectionError):
        raise _bad("could not be read: it is cut off, or its transfer or content encoding is broken") from None


def _check_media_type(request: web.Request, media_types: Collection[str]) -> None:
    given = request.headers.getall("Content-Type", [])
    encodings = {one.strip().lower() for one in request.headers.get("Content-Encoding", "").split(",")}
    if not encodings <= _ENCODINGS:
        raise _unsupported("the body may be encoded with gzip or deflate, or not at all")
    name, *parameters = (part.strip().lower() for part in (given[0] if len(given) == 1 else "").split(";"))
    if name not in media_types or any(one not in {"charset=utf-8", 'charset="utf-8"'} for one in parameters):
        raise _unsupported(f"the body must be JSON in UTF-8: send Content-Type: {' or '.join(media_types)}")


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting without recursion: an opening bracket is a step down, a closing one a step up."""
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
    return ProblemError(
        Problem(status=415, slug="unsupported-media-type", title="Unsupported media type", detail=detail)
    )


def _bad(what: str) -> ProblemError:
    return ProblemError(
        Problem(status=400, slug="bad-body", title="The body cannot be understood", detail=f"the body {what}")
    )


def _too_deep() -> ProblemError:
    return _bad(f"is nested deeper than {DEEPEST} levels")


def _too_large(most: int) -> ProblemError:
    return ProblemError(
        Problem(
            status=413,
            slug="too-large",
            title="Too large",
            detail=f"the body takes more than {most:,} bytes",
            headers={"Connection": "close"},
        )
    )
