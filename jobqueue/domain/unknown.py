"""Names that are not known, each with the known one that was probably meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from jobqueue.domain.errors import Problems

_LONGEST: Final = 100
MOST_HINTS: Final = 3
"""Unknown names of one object that get hints: more of them are no slips, and each search takes 70 µs."""


def hint(name: str, known: Collection[str]) -> str:
    """Return a question for the name that was meant, or nothing."""
    near = difflib.get_close_matches(name[:_LONGEST], known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_names(names: Iterable[Any], known: Collection[str], *, noun: str = "field", path: str = "") -> Problems:
    """Return a problem for each name that is not known; ``path`` and a dot go before it."""
    at = f"{path}." if path else ""
    unknown = [name for name in names if name not in known]
    hinted = known if len(unknown) <= MOST_HINTS else ()
    return {f"{at}{name}": [f"is not a known {noun}{hint(str(name), hinted)}"] for name in unknown}
