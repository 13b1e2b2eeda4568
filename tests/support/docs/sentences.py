"""Sentences of a page in Markdown, without code, tables and directives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE: Final = re.compile(r"^ *(`{3,}|~{3,}|:{3,})")
_ITEM: Final = re.compile(r"^ *(?:[*+-]|\d+\.) +")
_SKIPPED: Final = re.compile(r"^ *(?:\||<|!\[|#|\(.*\)=$)")
_CODE: Final = re.compile(r"(`+)(?:.+?)\1")
_LINK: Final = re.compile(r"!?\[([^]]*)\]\([^)]*\)")
_END: Final = re.compile(r"([.!?][\"')*]*)\s+(?=[\"'(*]*[A-Z0-9])")
_ABBREVIATION: Final = re.compile(r"\b(?:e\.g|i\.e|etc|vs|[A-Z])\.$")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page.

    Args:
        line: at which its paragraph begins, from 1 on.
        text: where a piece of code is the word CODE, and a link is its text.
    """

    line: int
    text: str

    @property
    def words(self) -> int:
        """Return how many words it has."""
        return sum(any(letter.isalnum() for letter in word) for word in self.text.split())


def sentences(page: str) -> Iterator[Sentence]:
    """Return the sentences of a page; an item of a list is a paragraph of its own."""
    for line, paragraph in _paragraphs(page):
        text = _LINK.sub(r"\1", _CODE.sub("CODE", paragraph)).replace("**", "")
        begun = ""
        for part in _END.sub(r"\1\n", text).split("\n"):
            begun = f"{begun} {part}".strip()
            if not _ABBREVIATION.search(begun):
                yield Sentence(line, begun)
                begun = ""
        if begun:
            yield Sentence(line, begun)


def _paragraphs(page: str) -> Iterator[tuple[int, str]]:
    begun: list[str] = []
    first = 0
    fence = ""
    for number, line in enumerate([*page.splitlines(), ""], start=1):
        fenced = _FENCE.match(line)
        opens_or_is_code = bool(fenced or fence)
        if fenced:
            fence = "" if fence == fenced[1] else fence or fenced[1]
        if opens_or_is_code or not line.strip() or _SKIPPED.match(line) or _ITEM.match(line):
            if begun:
                yield first, " ".join(begun)
            begun = []
        if opens_or_is_code or not line.strip() or _SKIPPED.match(line):
            continue
        first = first if begun else number
        begun.append(_ITEM.sub("", line).strip())
