"""Names of spans as headers and documents have them: Trace Context of the W3C (https://www.w3.org/TR/trace-context)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

PARENT: Final = "traceparent"
STATE: Final = "tracestate"
LONGEST_STATE: Final = 512
"""Characters of a ``tracestate`` that is kept: as many as the standard asks for."""
_LARGE_MEMBER: Final = 128
"""Characters of a member of ``tracestate`` from which on the standard gives it up first."""
_MOST_MEMBERS: Final = 32
_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY: Final = r"(?:[a-z0-9][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_MEMBER: Final = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_FIRST_VERSION: Final = "00"
_LONGEST_PARENT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """A span in a trace.

    Attributes:
        traceparent: the ids of the trace and of the span, in version 00.
        tracestate: what systems for traces add, at most `LONGEST_STATE` characters.
    """

    traceparent: str
    tracestate: str | None = None

    @classmethod
    def read(cls, traceparent: Any, tracestate: Any = None) -> Self | None:
        """Return the context that two texts name, or ``None``; an unusable ``tracestate`` is left out.

        A later version of the standard is read as far as version 00 goes.
        """
        if not isinstance(traceparent, str) or len(traceparent) > _LONGEST_PARENT:
            return None
        found = _PARENT.fullmatch(traceparent)
        if found is None or (traceparent.startswith(_FIRST_VERSION) and found[4]):
            return None
        span = f"{_FIRST_VERSION}-{found[1]}-{found[2]}-{found[3]}"
        return cls(traceparent=span, tracestate=state(tracestate))

    def fields(self) -> dict[str, str]:
        """Return the context as headers, and as fields of a document."""
        return {PARENT: self.traceparent} | ({} if self.tracestate is None else {STATE: self.tracestate})


def received(parents: Sequence[str], states: Sequence[str]) -> TraceContext | None:
    """Return the context of a request by the values of its headers; ``None`` without exactly one ``traceparent``."""
    if len(parents) != 1:
        return None
    return TraceContext.read(parents[0].strip(" \t"), ",".join(states) if states else None)


def parent(stored: Any) -> str | None:
    """Return a stored ``traceparent``; ``None`` for any other value."""
    context = TraceContext.read(stored)
    return None if context is None else context.traceparent


def state(stored: Any) -> str | None:
    """Return a stored ``tracestate``; ``None`` for any other value."""
    return _bounded(stored) if isinstance(stored, str) else None


def _bounded(text: str) -> str | None:
    """Return a list of members in `LONGEST_STATE` characters; ``None`` if one is wrong or none is left."""
    members = [member.strip(" \t") for member in text.split(",", maxsplit=4 * _MOST_MEMBERS)]
    members = [member for member in members if member]
    read = [_MEMBER.fullmatch(member) for member in members]
    keys = {found[1] for found in read if found is not None}
    if not members or len(members) > _MOST_MEMBERS or len(keys) < len(members):
        return None
    if _length(members) > LONGEST_STATE:
        members = [member for member in members if len(member) <= _LARGE_MEMBER]
    while _length(members) > LONGEST_STATE:
        # The last one is the oldest.
        members.pop()
    return ",".join(members) or None


def _length(members: Sequence[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
