"""Cut a stream of bytes into lines."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 64 * 1024
"""Bytes of a line; a longer line is cut into several."""
_BREAK: Final = re.compile(rb"\r*\n|\r+")
_SECOND_HALF: Final = re.compile(rb"\A\r*\n?")
_CONTINUATION: Final = 0x80
_CONTINUATION_MASK: Final = 0xC0


class Lines:
    r"""Cuts the output of a program into lines, in bounded memory.

    A line ends with ``\n``, ``\r\n`` or, as in progress bars, ``\r``; the last line may lack its end.

    Args:
        whole: beginnings of lines that are never cut into several.
        most: bytes of such a line; the rest is dropped.
    """

    def __init__(self, whole: tuple[bytes, ...] = (), most: int = LONGEST) -> None:
        self._whole = whole
        self._most = most
        self._rest = bytearray()
        self._after_return = False
        self._dropping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that a chunk completes, without their ends."""
        lines: list[bytes] = []
        start = 0
        if self._after_return:
            # The last chunk ended with the first half of this line end, which ended its line.
            start = len(chunk) - len(_SECOND_HALF.sub(b"", chunk, count=1))
            self._after_return = start == len(chunk) and not chunk.endswith(b"\n")
        for line_end in _BREAK.finditer(chunk, start):
            self._grow(chunk[start : line_end.start()], lines)
            start = line_end.end()
            # A progress bar also begins with a return: nothing before a return is not a line.
            if self._rest or self._dropping or line_end[0].endswith(b"\n"):
                if not self._dropping:
                    lines.append(self._take(len(self._rest)))
                self._dropping = False
                self._after_return = start == len(chunk) and chunk.endswith(b"\r")
        self._grow(chunk[start:], lines)
        return lines

    def skip(self, chunk: bytes) -> list[bytes]:
        """Return at least the lines that begin with ``::``; faster than `feed`."""
        if self._rest.startswith(b":") or b"::" in chunk:
            return self.feed(chunk)
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
        if end >= 0:
            self._rest.clear()
            self._dropping = False
        if not self._dropping:
            self._rest += chunk[end + 1 :]
            del self._rest[LONGEST:]
        self._after_return = chunk.endswith(b"\r")
        return []

    def finish(self) -> list[bytes]:
        """Return the last line if its end is missing."""
        return [self._take(len(self._rest))] if self._rest else []

    def _grow(self, part: bytes, lines: list[bytes]) -> None:
        """Add to the present line, and cut a line that is too long."""
        if self._dropping:
            return
        self._rest += part
        if self._rest.startswith(self._whole):
            if len(self._rest) > self._most:
                lines.append(self._take(self._most + 1))
                self._rest.clear()
                self._dropping = True
        else:
            while len(self._rest) > LONGEST:
                lines.append(self._take(_boundary(self._rest, LONGEST)))

    def _take(self, size: int) -> bytes:
        line = bytes(self._rest[:size])
        del self._rest[:size]
        return line


def _boundary(text: bytearray, most: int) -> int:
    """Return a place to cut that splits no UTF-8 character."""
    for size in range(most, most - 4, -1):
        if text[size] & _CONTINUATION_MASK != _CONTINUATION:
            return size
    return most
