"""Fit the columns of a table into the width of a terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.jobs.short_ids import tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GAP: Final = 2
"""Blanks between two columns."""
_LONGEST_WORD: Final = 40
_COMFORT: Final = 30
"""Width at which a text of several words is still easy to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """The wishes of a column.

    Attributes:
        whole: the width of its longest cell.
        least: the width to which it may be cut; as `whole` for a column that is never cut.
        word: the width of its longest word.
        wraps: its longer cells take several lines: it is never cut nor left out.
        rank: columns of a higher rank are left out first, those of rank 0 never.
    """

    whole: int
    least: int
    word: int = 0
    wraps: bool = False
    rank: int = 0


def fit(columns: Sequence[Width], room: int) -> dict[int, int]:
    """Return the widths of the columns that are shown, by their numbers.

    Columns are left out, those of the highest rank first, until the others fit if all are as narrow as may be. What is
    left then goes to the columns that are cut, and after them to those that wrap.
    """
    shown = dict(enumerate(columns))
    while True:
        widths = {number: _smallest(column) for number, column in shown.items()}
        spare = room - total(widths.values())
        optional = [number for number, column in shown.items() if column.rank]
        if spare >= 0 or not optional:
            break
        del shown[max(optional, key=lambda number: (shown[number].rank, number))]
    for wraps in (False, True):
        for number, column in shown.items():
            if column.wraps is wraps and spare > 0:
                more = min(spare, column.whole - widths[number])
                widths[number] += more
                spare -= more
    _squeeze(shown, widths, room)
    return widths


def total(widths: Iterable[int]) -> int:
    """Return the width of a line."""
    each = list(widths)
    return sum(each) + GAP * (len(each) - 1)


def short_ids(ids: Iterable[str], mark: str) -> dict[str, str]:
    """Return a short form for each id: its last digits, as many as tell these ids apart.

    Args:
        ids: whole ones.
        mark: the sign before the digits.
    """
    tails = {text: tail(text) for text in sorted(set(ids))}
    while same := _repeated(tails.values()):
        tails = {text: text[-len(end) - 1 :] if end in same else end for text, end in tails.items()}
    return {text: mark + end for text, end in tails.items()}


def _repeated(texts: Iterable[str]) -> set[str]:
    return {text for text, count in Counter(texts).items() if count > 1}


def _smallest(column: Width) -> int:
    return min(column.whole, max(_COMFORT, min(column.word, _LONGEST_WORD)) if column.wraps else column.least)


def _squeeze(shown: dict[int, Width], widths: dict[int, int], room: int) -> None:
    """Narrow the columns that wrap until the line fits: down to their longest words, and below only if need be."""
    wrapping = [number for number, column in shown.items() if column.wraps]
    for floor in ({number: min(shown[number].word, widths[number]) for number in wrapping}, dict.fromkeys(wrapping, 8)):
        while total(widths.values()) > room:
            number = max(wrapping, key=lambda number: widths[number] - floor[number], default=None)
            if number is None or widths[number] <= floor[number]:
                break
            widths[number] -= 1
