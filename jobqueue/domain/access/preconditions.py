"""Conditions of a request on the thing that it is about (RFC 9110, section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobqueue.domain.errors import ChangedMeanwhileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """The entity tags that a caller allows or excludes, without quotes.

    Attributes:
        match: the present tag has to be one of these; ``None`` for no such condition.
        match_any: something has to be there.
        none_match: the present tag must not be one of these; ``None`` for no such condition.
        none_match_any: nothing may be there.
    """

    match: frozenset[str] | None = None
    match_any: bool = False
    none_match: frozenset[str] | None = None
    none_match_any: bool = False

    @property
    def is_empty(self) -> bool:
        """Return True if every present state is fine."""
        return self == NONE

    def matches(self, tag: str, *, exists: bool = True) -> bool:
        """Return True if ``If-Match`` holds; ``exists`` decides ``*``."""
        if self.match_any:
            return exists
        return self.match is None or tag in self.match

    def is_known(self, tag: str, *, exists: bool = True) -> bool:
        """Return True if ``If-None-Match`` names what is there: then it does not hold."""
        if self.none_match_any:
            return exists
        return self.none_match is not None and tag in self.none_match

    def check(self, kind: str, name: str, tag: str, *, exists: bool = True) -> None:
        """Make sure that a change may be made.

        Args:
            kind: of the thing, for the message.
            name: of the thing.
            tag: the present one.
            exists: the thing is there, as far as ``*`` is concerned.

        Raises:
            ChangedMeanwhileError: a condition does not hold.
        """
        if not self.matches(tag, exists=exists):
            raise ChangedMeanwhileError(kind, name)
        if self.is_known(tag, exists=exists):
            raise ChangedMeanwhileError(kind, name, excluded=True)


NONE: Final = Preconditions()
"""No condition at all."""
