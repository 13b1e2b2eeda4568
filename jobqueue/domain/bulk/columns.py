"""The features of many jobs by field: which jobs have a value, as the bits of whole numbers."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jobqueue.domain.bulk.features import ROOTS, Scalar, profile
from jobqueue.domain.bulk.traits import MEASURED_KINDS, NAMED_KINDS, Likeness, TraitTest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobqueue.domain.bulk.features import ComparedJob, Feature

MOST_FIELDS: Final = 300
"""Fields that are compared; further ones, which fewer jobs have, are left out."""
MOST_VALUES: Final = 40
"""Values of one field, the most frequent ones."""
LEAST_JOBS: Final = 3
"""Jobs of both samples that have to share a value: so no value that differs in every job is compared."""
_CUTS: Final = 16
_LEAST_NUMBERS: Final = 3
_FOLLOWS: Final = 0.9
_SHARE: Final = 0.5
_MANTISSAS: Final = (1, 2, 5)
_MOST_ROUND: Final = 24
_DIGITS: Final = 2
_MOST_EXACT: Final = 2**53


@dataclass(slots=True)
class Column:
    """The values of one field.

    Attributes:
        is_single: a job has one value of it at most, unlike of the members of a list.
        present: the jobs that have the field.
        values: the jobs by value; the kind keeps 1 and true apart.
        numbers: each number and the place of its job.
        lengths: each length by kind, as ``numbers``.
    """

    is_single: bool
    present: int = 0
    values: defaultdict[tuple[str, Scalar], int] = field(default_factory=lambda: defaultdict(int))
    kinds: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    numbers: list[tuple[float, int]] = field(default_factory=list)
    lengths: defaultdict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, feature: Feature, place: int) -> None:
        """Note a feature of the job at a place."""
        bit = 1 << place
        self.present |= bit
        self.kinds[feature.kind] |= bit
        if feature.value is not None or feature.kind == "null":
            self.values[feature.kind, feature.value] |= bit
        if not self.is_single:
            return
        if feature.kind == "number" and isinstance(feature.value, int | float):
            self.numbers.append((feature.value, place))
        if feature.length is not None and (feature.kind in MEASURED_KINDS or feature.path in ROOTS):
            self.lengths[feature.kind].append((feature.length, place))


class Columns:
    """The features of some jobs by field.

    Attributes:
        all: the bits of all jobs.
        unread: the jobs whose ``data`` or ``meta`` was not looked at.
    """

    def __init__(self, jobs: Sequence[ComparedJob]) -> None:
        self.all = (1 << len(jobs)) - 1
        self.unread: dict[str, int] = dict.fromkeys(ROOTS, 0)
        columns: dict[str, Column] = {}
        for place, job in enumerate(jobs):
            seen = profile(job)
            for feature in seen.features:
                path = feature.path
                if path not in columns:
                    columns[path] = Column(is_single="[]" not in path)
                columns[path].add(feature, place)
            for root in seen.unread:
                self.unread[root] |= 1 << place
        ordered = sorted(columns.items(), key=lambda entry: (-entry[1].present.bit_count(), entry[0]))
        self._columns = {
            name: column for name, column in ordered[:MOST_FIELDS] if column.present.bit_count() >= LEAST_JOBS
        }
        in_time = sorted(range(len(jobs)), key=lambda place: (jobs[place].insert_at, place))
        self._ages = {place: age for age, place in enumerate(in_time)}

    @property
    def fields(self) -> int:
        """The number of fields."""
        return len(self._columns)

    def known(self, name: str) -> int:
        """Return the jobs whose value of a field is known, or known to be missing."""
        root, dot, _ = name.partition(".")
        return self.all & ~self.unread.get(root, 0) if dot else self.all

    def tests(self) -> Iterator[tuple[Likeness, int]]:
        """Yield each trait to compare with the jobs that have it; which of them failed decides nothing here."""
        for name, column in self._columns.items():
            yield Likeness(field=name, test=TraitTest.MISSING), self.known(name) & ~column.present
            common = sorted(column.values.items(), key=lambda entry: (-entry[1].bit_count(), str(entry[0])))
            for (_, value), mask in common[:MOST_VALUES]:
                if mask.bit_count() >= LEAST_JOBS:
                    yield Likeness(field=name, test=TraitTest.IS, value=value), mask
            for kind, mask in column.kinds.items():
                if kind in NAMED_KINDS and len(column.kinds) > 1:
                    yield Likeness(field=name, test=TraitTest.KIND, value=kind), mask
            yield from self._above(Likeness(field=name, test=TraitTest.AT_LEAST), column.numbers)
            if name.partition(".")[0] in ROOTS:
                for kind, lengths in column.lengths.items():
                    yield from self._above(Likeness(field=name, test=TraitTest.LONG, unit=kind), lengths)

    def _above(self, trait: Likeness, numbers: Sequence[tuple[float, int]]) -> Iterator[tuple[Likeness, int]]:
        """Yield a trait with some bounds, unless the numbers count up with the time."""
        different = sorted({number for number, _ in numbers})
        if len(different) < _LEAST_NUMBERS or self._follow_time(numbers, len(different)):
            return
        rising = sorted(numbers)
        mask = 0
        for cut in reversed(_cuts(different, [number for number, _ in rising])):
            while rising and rising[-1][0] >= cut:
                mask |= 1 << rising.pop()[1]
            yield Likeness(field=trait.field, test=trait.test, value=cut, unit=trait.unit), mask

    def _follow_time(self, numbers: Sequence[tuple[float, int]], different: int) -> bool:
        if different < _SHARE * len(numbers):
            return False
        by_number = sorted(numbers)
        by_age = sorted(range(len(by_number)), key=lambda rank: self._ages[by_number[rank][1]])
        count = len(by_number)
        apart = sum((rank - age) ** 2 for age, rank in enumerate(by_age))
        return abs(1 - 6 * apart / (count * (count * count - 1))) >= _FOLLOWS


def _cuts(different: Sequence[float], numbers: Sequence[float]) -> list[float]:
    """Return some bounds between the lowest and the highest number: all of few, or quantiles and round numbers."""
    if len(different) <= _CUTS:
        return list(different[1:])
    quantiles = {_rounded(numbers[len(numbers) * place // _CUTS]) for place in range(1, _CUTS)}
    inside = {cut for cut in quantiles | _round_numbers(numbers[0], numbers[-1]) if numbers[0] < cut <= numbers[-1]}
    return sorted(inside)


def _round_numbers(low: float, high: float) -> set[float]:
    """Return the largest round numbers between two bounds."""
    greatest = max(abs(low), abs(high))
    top = math.floor(math.log10(greatest)) if greatest else 0
    steps = [mantissa * 10.0**power for power in range(top, top - _MOST_ROUND // 3, -1) for mantissa in _MANTISSAS]
    return {_plain(step) for step in steps if low < step <= high}


def _rounded(number: float) -> float:
    return _plain(float(f"{number:.{_DIGITS}g}"))


def _plain(number: float) -> float:
    """Return a whole number as such, as long as JSON and people can read all of its digits."""
    return int(number) if number.is_integer() and abs(number) < _MOST_EXACT else number
