"""Conditions of a request on the present state of its resource (RFC 9110, section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobqueue.domain.errors import ChangedMeanwhileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The entity tags that a caller allows or excludes, without quotes.

    Attributes:
        match: the present tag must be among these; ``None`` for no such condition.
        match_any: the resource must exist.
        none_match: the present tag must not be among these; ``None`` for no such condition.
        none_match_any: the resource must not exist.
    """

    match: frozenset[str] | None = None
    match_any: bool = False
    none_match: frozenset[str] | None = None
    none_match_any: bool = False

    @property
    def is_empty(self) -> bool:
        """True if there are no conditions."""
        return self == NONE

    def matches(self, tag: str, *, exists: bool = True) -> bool:
        """Tell whether ``If-Match`` holds; ``exists`` decides ``*``."""
        if self.match_any:
            return exists
        return self.match is None or tag in self.match

    def is_known(self, tag: str, *, exists: bool = True) -> bool:
        """Tell whether ``If-None-Match`` names the present tag, so that it does not hold."""
        if self.none_match_any:
            return exists
        return self.none_match is not None and tag in self.none_match

    def check(self, kind: str, name: str, tag: str, *, exists: bool = True) -> None:
        """Check all conditions against the present tag; ``kind`` and ``name`` of the resource are for the message.

        Raises:
            ChangedMeanwhileError: a condition does not hold.
        """
        if not self.matches(tag, exists=exists):
            raise ChangedMeanwhileError(kind, name)
        if self.is_known(tag, exists=exists):
            raise ChangedMeanwhileError(kind, name, excluded=True)


NONE: Final = Preconditions()
"""No condition at all."""
