"""Undo the content encoding of a reply, although the request asked for plain bytes."""

from __future__ import annotations

import zlib
from typing import Final

_ZIPPED: Final = (zlib.MAX_WBITS | 32,)
_DEFLATED: Final = (zlib.MAX_WBITS, -zlib.MAX_WBITS)
_FORMATS: Final = {"gzip": _ZIPPED, "x-gzip": _ZIPPED, "deflate": _DEFLATED}


def unpack(body: bytes, encoding: str, most: int) -> bytes | None:
    """Return the plain bytes of a body, at most one more than ``most``; ``None`` if the encoding cannot be undone.

    A body that is UTF-8 text is plain, whatever its header says.

    Args:
        body: as received, perhaps cut short after ``most`` bytes.
        encoding: the ``Content-Encoding``, in lower case.
        most: bytes of interest.
    """
    for bits in _FORMATS.get(encoding, ()):
        unpacked = _inflate(body, bits, most + 1)
        if unpacked is not None:
            return unpacked
    try:
        body.decode()
    except UnicodeDecodeError:
        return None
    return body


def _inflate(body: bytes, bits: int, most: int) -> bytes | None:
    machine = zlib.decompressobj(bits)
    try:
        unpacked = machine.decompress(body, most)
    except zlib.error:
        return None
    is_whole = machine.eof and not machine.unused_data
    return unpacked if is_whole or len(unpacked) >= most else None
