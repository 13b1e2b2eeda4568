"""Suggestions for filters, as typed values; members that later versions add are left out."""

from __future__ import annotations

from typing import Any

import msgspec


class SuggestionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A name of a field of jobs, or a value of one; ``count`` is the number of jobs of the sample that have it."""

    value: Any
    count: int


class SuggestionsView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Suggestions, the most frequent first; ``sampled`` is the number of jobs that were looked at."""

    items: list[SuggestionView]
    sampled: int
