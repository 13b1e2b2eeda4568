"""Short forms of ids: the first digits or the last ones.

The first eight digits of an id are the second in which it was made, so that jobs of one second share them. Lists
therefore show the last six. Jobs that are created together are numbered in these: of theirs, lists show twelve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DIGITS: Final = 24
FEWEST: Final = 6
"""Digits of the shortest form."""
_OF_NUMBERED: Final = 12
"""Digits of the short form of a numbered id."""
MOST_NAMED: Final = 5
"""Matches that the message about an ambiguous form names."""
COVERED: Final = 100_000
"""Jobs among which an id is found by its last digits: the newest, and the newest running, failed and killed ones."""
MUST: Final = "must be 24 hexadecimal digits, or at least the first six or the last six of them"
_MARKS: Final = ("…", "...")
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class ShortId:
    """A part of an id, or a whole one.

    Attributes:
        digits: in lower case.
        is_head: the id may begin with them.
        is_tail: the id may end with them.
    """

    digits: str
    is_head: bool = True
    is_tail: bool = True

    @classmethod
    def read(cls, text: str, path: str = "id") -> ShortId:
        """Return a short form: digits, with ``…`` or ``...`` before those of an end or behind those of a beginning.

        Raises:
            InvalidInputError: the text is none.
        """
        digits = text.lower()
        before = next((mark for mark in _MARKS if digits.startswith(mark)), "")
        digits = digits.removeprefix(before)
        behind = next((mark for mark in _MARKS if digits.endswith(mark)), "")
        digits = digits.removesuffix(behind)
        if not FEWEST <= len(digits) <= DIGITS or not _HEX.issuperset(digits) or (before and behind):
            raise InvalidInputError({path: [MUST]})
        is_whole = len(digits) == DIGITS
        return cls(digits, is_head=not before or is_whole, is_tail=not (behind or is_whole))

    @property
    def whole(self) -> str | None:
        """The id, if the form has all its digits."""
        return self.digits if len(self.digits) == DIGITS else None

    @property
    def bounds(self) -> tuple[str, str]:
        """The lowest and the highest id that begins with the digits."""
        return self.digits.ljust(DIGITS, "0"), self.digits.ljust(DIGITS, "f")


def tail(job_id: str) -> str:
    """Return the last digits of an id by which lists show it."""
    # Numbers of jobs that were created together are small; one in 256 other ids looks like these.
    digits = _OF_NUMBERED if job_id[-FEWEST:].startswith("00") else FEWEST
    return job_id[-digits:]


def only(kind: str, text: str, matches: Sequence[Mapping[str, Any]], path: str = "id") -> str:
    """Return the one id for which a short form stands.

    Args:
        kind: ``job`` or ``batch``, for the message.
        text: the short form.
        matches: the jobs or batches that it may stand for, as documents with ``id``, ``state`` and perhaps ``type``.
        path: of the problem.

    Raises:
        NotFoundError: there is no match.
        InvalidInputError: there are several.
    """
    if not matches:
        raise NotFoundError(kind, text)
    if len(matches) == 1:
        return str(matches[0]["id"])
    named = [
        f"{match['id']} ({', '.join(str(match[name]) for name in ('type', 'state') if name in match)})"
        for match in matches[:MOST_NAMED]
    ]
    more = " and others" if len(matches) > MOST_NAMED else ""
    plural = "batches" if kind == "batch" else f"{kind}s"
    raise InvalidInputError({path: [f"{text} stands for several {plural}: {'; '.join(named)}{more}"]})
