"""Traits of jobs: tests of one value that a job passes or not, and their texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from jobqueue.domain.bulk.features import ROOTS, Scalar

HOUR: Final = "hour"
_LONGEST_VALUE: Final = 80
_KINDS: Final = {
    "text": "text",
    "number": "a number",
    "flag": "true or false",
    "list": "a list",
    "object": "an object",
}
_UNITS: Final = {"text": "characters", "list": "entries"}
NAMED_KINDS: Final = frozenset(_KINDS)
MEASURED_KINDS: Final = frozenset(_UNITS)


class TraitTest(StrEnum):
    """A test of a value, the simplest ones first."""

    IS = "is"
    MISSING = "isMissing"
    THERE = "isThere"
    KIND = "isKind"
    AT_LEAST = "atLeast"
    BELOW = "below"
    LONG = "lengthAtLeast"
    SHORT = "lengthBelow"
    IS_NOT = "isNot"
    OTHER_KIND = "isOtherKind"


OPPOSITES: Final = {
    TraitTest.IS: TraitTest.IS_NOT,
    TraitTest.MISSING: TraitTest.THERE,
    TraitTest.KIND: TraitTest.OTHER_KIND,
    TraitTest.AT_LEAST: TraitTest.BELOW,
    TraitTest.LONG: TraitTest.SHORT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """A trait of a field.

    Attributes:
        value: to compare with; the name of a kind for tests of kinds.
        unit: of lengths, ``text``, ``list`` or ``bytes``.
    """

    field: str
    test: TraitTest
    value: Scalar = None
    unit: str | None = None

    @property
    def text(self) -> str:
        """The trait in words."""
        return f"{self.field} {self._predicate}" if self.field != HOUR else self._hours

    @property
    def _hours(self) -> str:
        first = self.value if isinstance(self.value, int) else 0
        negation = "not " if self.test is TraitTest.IS_NOT else ""
        return f"began {negation}between {first:02}:00 and {(first + 1) % 24:02}:00 UTC"

    @property
    def _predicate(self) -> str:  # noqa: PLR0911 - one for each test
        is_list = self.field.endswith("]")
        match self.test:
            case TraitTest.IS:
                return f"{'has' if is_list else '='} {shown(self.value)}"
            case TraitTest.IS_NOT:
                return f"{'has no' if is_list else 'is not'} {shown(self.value)}"
            case TraitTest.MISSING:
                return "is missing"
            case TraitTest.THERE:
                return "is there"
            case TraitTest.KIND:
                return f"is {_KINDS.get(str(self.value), 'of another kind')}"
            case TraitTest.OTHER_KIND:
                return f"is not {_KINDS.get(str(self.value), 'of another kind')}"
            case TraitTest.AT_LEAST | TraitTest.BELOW:
                return f"{'≥' if self.test is TraitTest.AT_LEAST else '<'} {shown(self.value)}{self._seconds}"
            case TraitTest.LONG:
                return f"has {shown(self.value)} {self._unit} or more"
            case TraitTest.SHORT:
                return f"has fewer than {shown(self.value)} {self._unit}"

    @property
    def _seconds(self) -> str:
        return " s" if self.field == "waited" else ""

    @property
    def _unit(self) -> str:
        return "bytes" if self.field in ROOTS else _UNITS.get(self.unit or "", "characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait(Likeness):
    """A trait by which failed jobs differ from those that succeeded, with the numbers of jobs that have it.

    Attributes:
        failed: jobs of the failed ones.
        failed_of: failed jobs whose value is known.
        alike: traits of other fields that the same jobs have.
    """

    failed: int
    failed_of: int
    succeeded: int
    succeeded_of: int
    alike: tuple[Likeness, ...] = ()

    @property
    def difference(self) -> float:
        """The distance of both shares, at most 1."""
        return self.failed / self.failed_of - self.succeeded / self.succeeded_of

    @property
    def sentence(self) -> str:
        """The trait with its shares in words."""
        failed, others = percent(self.failed, self.failed_of), percent(self.succeeded, self.succeeded_of)
        return f"in {failed} of the failed jobs {self.text} (in {others} of those that succeeded)"


def percent(count: int, total: int) -> str:
    """Return a share in words; all and none are exact."""
    rounded = round(100 * count / total)
    if count and not rounded:
        return "less than 1 %"
    return "more than 99 %" if count < total and rounded == 100 else f"{rounded} %"  # noqa: PLR2004 - per cent


def shown(value: Scalar) -> str:
    """Return a value as short JSON; numbers have marks between thousands."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
