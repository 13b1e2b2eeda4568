"""A stream of bytes, cut into lines."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 64 * 1024
"""Bytes of a line; a longer one comes as several."""
_BREAK: Final = re.compile(rb"\r*\n|\r+")
_CONTINUATION: Final = 0x80
_CONTINUATION_MASK: Final = 0xC0


class Lines:
    r"""Cuts what a program prints into lines, in bounded memory.

    A line ends with ``\n``, ``\r\n`` or, as progress bars have it, ``\r``; the last one may lack its end.

    Args:
        whole: beginning of lines that are not cut into several when they are long.
        most: bytes of such a line; what is beyond that is dropped.
    """

    def __init__(self, whole: bytes | None = None, most: int = LONGEST) -> None:
        self._whole = whole
        self._most = most
        self._rest = bytearray()
        self._after_return = False
        self._dropping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that a chunk completes, without their ends."""
        lines: list[bytes] = []
        # The half of a line end that came with the last chunk has ended its line already.
        start = 1 if self._after_return and chunk.startswith(b"\n") else 0
        for found in _BREAK.finditer(chunk, start):
            self._rest += chunk[start : found.start()]
            start = found.end()
            if self._dropping:
                self._dropping = False
                self._rest.clear()
            elif self._rest or found[0].endswith(b"\n"):
                lines.append(self._take(len(self._rest)))
        self._rest += chunk[start:]
        self._after_return = chunk.endswith(b"\r")
        self._shorten(lines)
        return lines

    def skip(self, chunk: bytes) -> list[bytes]:
        """Return at least those of the lines that begin with ``::``; faster than `feed`."""
        if self._rest.startswith(b":") or b"::" in chunk:
            return self.feed(chunk)
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        if end >= 0:
            self._rest.clear()
            self._dropping = False
        self._rest += chunk[end + 1 :]
        del self._rest[LONGEST:]
        self._after_return = chunk.endswith(b"\r")
        return []

    def finish(self) -> list[bytes]:
        """Return the last line, if it has no end."""
        if self._dropping:
            self._rest.clear()
        return [self._take(len(self._rest))] if self._rest else []

    def _shorten(self, lines: list[bytes]) -> None:
        if self._dropping:
            self._rest.clear()
        elif self._whole is not None and self._rest.startswith(self._whole):
            if len(self._rest) > self._most:
                lines.append(self._take(self._most + 1))
                self._dropping = True
                self._rest.clear()
        else:
            while len(self._rest) > LONGEST:
                lines.append(self._take(_boundary(self._rest, LONGEST)))

    def _take(self, size: int) -> bytes:
        line = bytes(self._rest[:size])
        del self._rest[:size]
        return line


def _boundary(text: bytearray, most: int) -> int:
    """Return where to cut so that no UTF-8 character is torn, if this is UTF-8."""
    for size in range(most, most - 4, -1):
        if text[size] & _CONTINUATION_MASK != _CONTINUATION:
            return size
    return most
