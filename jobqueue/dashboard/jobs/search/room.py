"""Room on the page: how many rows it has, and how long their texts may be, so that it stays small whatever they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobqueue.dashboard.jobs.search.columns import Column

MOST_ROWS: Final = 50
_FEWEST_ROWS: Final = 10
_BYTES: Final = 45_000
"""Of all rows of a page, and of the query in the links around them."""
_LINKS: Final = {"heads": 2500, "states": 1500, "chips": 4000, "others": 4000}
"""Most bytes that the query may take in links of a kind; there are no such links with a longer query."""
MOST_TITLE: Final = 58
"""Bytes of the exact time of an age."""
_ROW: Final = 90
_WEIGHTS: Final = {
    "state": 150,
    "type": 80,
    "id": 85,
    "age": 150,
    "reason": 45,
    "attempts": 70,
    "ran": 45,
    "time": 170,
    "job": 95,
    "batch": 100,
}
"""Bytes of cells without their texts, by the kind of the column."""
_OTHER: Final = 60
_OF_STATE: Final = {"processing": 150, "delayed": 125}
"""Bytes more in rows of some states: a bar of progress, times."""
_LENGTHS: Final = (240, 160, 120, 90, 60, 40, 24)
"""Bytes of a text, from what is usual to what is left on the largest pages."""
_LEAST: Final = _LENGTHS[-1]


@dataclass(frozen=True, slots=True)
class Links:
    """The links around the rows, each with the query in it.

    Attributes:
        length: of the query in a link.
        numbers: of links, by kind.
        typed: bytes of the query in fields of forms.
    """

    length: int
    numbers: Mapping[str, int]
    typed: int = 0

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of links that the page has."""
        return frozenset(kind for kind, number in self.numbers.items() if number * self.length <= _LINKS[kind])

    @property
    def bytes(self) -> int:
        """The bytes of the query in all links, of those to other pages and of the page itself too."""
        return self.typed + self.length * (4 + sum(self.numbers[kind] for kind in self.kinds))


def rows_of(columns: Sequence[Column], links: Links) -> int:
    """Return the number of rows of a page."""
    texts = sum(column.kind not in _WEIGHTS or column.kind in {"type", "reason"} for column in columns)
    each = _row(columns) + _LEAST * texts
    return max(_FEWEST_ROWS, min(MOST_ROWS, (_BYTES - links.bytes) // each))


def room_of(columns: Sequence[Column], states: Sequence[str], links: Links) -> int:
    """Return the bytes that are left for the texts of rows whose jobs are in these states."""
    return _BYTES - links.bytes - sum(_row(columns) + _OF_STATE.get(state, 0) for state in states)


def longest(texts: Iterable[str], room: int) -> int:
    """Return the bytes that each text may have so that all of them fit."""
    sizes = [size(text) for text in texts]
    return next((most for most in _LENGTHS if sum(min(each, most) for each in sizes) <= room), _LEAST)


def cut(text: str, most: int) -> str:
    """Return a text of at most so many bytes in a page."""
    whole = " ".join(text[:most].split()) if len(text) > most else " ".join(text.split())
    if len(text) <= most and size(whole) <= most:
        return whole
    while whole and size(whole) > most - 3:
        whole = whole[: min(len(whole) - 1, len(whole) * most // size(whole))]
    return f"{whole}…"


def size(text: str) -> int:
    """Return the bytes of a text in a page."""
    return len(str(escape(text)).encode(errors="replace"))


def _row(columns: Sequence[Column]) -> int:
    return _ROW + sum(_WEIGHTS.get(column.kind, _OTHER) for column in columns)
