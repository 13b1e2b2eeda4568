"""Texts that are looked for where people expect them."""

from __future__ import annotations

import re
from typing import Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.fields import is_text
from jobqueue.domain.search.filters import Comparison, Filter, Group
from jobqueue.domain.search.values import Id, Pattern
from jobqueue.domain.values.checks import is_id

LONGEST_TEXT: Final = 200
"""Characters of a text to look for."""
_SEARCHED: Final = ("type", "key", "error.kind", "error.message")


def check_text(text: str, at: str = "q") -> str:
    """Return a text that can be looked for.

    Raises:
        InvalidInputError: it is empty, too long, or has a NUL or a lone surrogate.
    """
    if not (1 <= len(text) <= LONGEST_TEXT and "\0" not in text):
        raise InvalidInputError({at: [f"must be 1 to {LONGEST_TEXT} characters other than NUL"]})
    if not is_text(text):
        raise InvalidInputError({at: ["has a lone surrogate, which is not Unicode text"]})
    return text


def anywhere(text: str) -> Filter:
    """Return a filter for a part of the type, the key, the error or a text in ``meta``, in upper or lower case.

    A whole id finds the job, its children and the jobs of the batch.
    """
    if is_id(text):
        return Group("$or", tuple(Comparison(name, "$eq", Id(text.lower())) for name in ("id", "batchId", "parentId")))
    pattern = Pattern(re.escape(text), "i")
    return Group(
        "$or", (*(Comparison(name, "$regex", pattern) for name in _SEARCHED), Comparison("meta", "$text", text))
    )
