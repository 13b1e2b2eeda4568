"""Values that the jobs of a sample have in common, and how many jobs of another sample have them too."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ROOTS: Final = ("data", "meta")
_DEEPEST: Final = 5
_MOST_PATHS: Final = 200
_LONGEST: Final = 80
_MOST: Final = 10
_LEAST_SHARE: Final = 0.5
_TELLING: Final = 0.9
_TIMES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """A value at a path, with the numbers of jobs that have it.

    Attributes:
        count: of the group's sample.
        other: of the other sample.
    """

    path: str
    value: str
    count: int
    total: int
    other: int
    others: int

    @property
    def share(self) -> float:
        """The part of the group's sample."""
        return self.count / self.total

    @property
    def other_share(self) -> float | None:
        """The part of the other sample, if there is one."""
        return self.other / self.others if self.others else None

    @property
    def difference(self) -> float:
        """The distance of the two parts."""
        return self.share - (self.other_share or 0)

    @property
    def tells(self) -> bool:
        """True if nearly all jobs of the group have the value, and few others."""
        other = self.other_share
        return self.share >= _TELLING and other is not None and other * _TIMES <= self.share

    @property
    def times(self) -> str:
        """The difference in words."""
        if self.other_share is None:
            return ""
        if not self.other:
            return "only here"
        times = self.share / self.other_share
        return f"{times:.0f} times as often" if times >= _TIMES else "no difference" if times >= 1 / _TIMES else "rarer"


def traits(jobs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[Trait]:
    """Return the values that at least half of some jobs have, the most telling ones first."""
    counts = _counted(jobs)
    elsewhere = _counted(others)
    best: dict[str, Trait] = {}
    for (path, value), count in counts.most_common():
        if count < _LEAST_SHARE * len(jobs) or path in best:
            continue
        other = elsewhere[path, value]
        best[path] = Trait(path=path, value=value, count=count, total=len(jobs), other=other, others=len(others))
    return sorted(best.values(), key=lambda trait: (-trait.difference, trait.path))[:_MOST]


def side_by_side(jobs: Sequence[Mapping[str, Any]], most: int) -> list[tuple[str, list[str], bool]]:
    """Return the values of jobs by path, and whether all of them are the same; those that differ come first."""
    flat = [dict(scalars(job)) for job in jobs]
    paths = sorted({path for values in flat for path in values})
    rows = []
    for path in paths:
        values = [own.get(path, NONE) for own in flat]
        rows.append((path, values, len(jobs) > 1 and len(set(values)) == 1))
    return sorted(rows, key=lambda row: row[2])[:most]


def scalars(job: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the scalars in ``data`` and ``meta`` of a job by their paths, as short texts."""
    left = _MOST_PATHS
    for root in _ROOTS:
        for path, value in _walked(job.get(root), root, _DEEPEST):
            if not left:
                return
            left -= 1
            yield path, value


def _walked(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items() if depth else ():
            yield from _walked(inner, f"{path}.{name[:_LONGEST]}", depth - 1)
    elif isinstance(value, list):
        yield f"{path}[]", f"{len(value)} items"
    elif value is not None or "." in path:
        text = json.dumps(value[: _LONGEST + 1] if isinstance(value, str) else value, ensure_ascii=False)
        yield path, text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _counted(jobs: Sequence[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    return Counter(pair for job in jobs for pair in dict(scalars(job)).items())
