"""The relatives of a job with their present states, as a list that is indented like a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MOST: Final = 16
_MOST_ANCESTORS: Final = 6
_DEEPEST: Final = 6


@dataclass(frozen=True, slots=True)
class Relative:
    """A relative; ``depth`` counts the relatives above it."""

    job: Mapping[str, Any]
    depth: int
    is_self: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The relatives that a page shows.

    Attributes:
        left_out: the number of others; with ``is_more`` there are even more of them.
    """

    relatives: Sequence[Relative]
    left_out: int
    is_more: bool
    batch: Mapping[str, Any] | None


def family(reply: Mapping[str, Any]) -> Family:
    """Return the relatives of a reply of the API."""
    ancestors = [Relative(job, 0, is_self=False) for job in reply["ancestors"]]
    shown = [Relative(one.job, index, is_self=False) for index, one in enumerate(ancestors[-_MOST_ANCESTORS:])]
    tree = list(_flat(reply["job"], len(shown)))
    return Family(
        relatives=[*shown, *tree[:_MOST]],
        left_out=max(0, len(ancestors) - _MOST_ANCESTORS) + max(0, len(tree) - _MOST),
        is_more=bool(reply["truncated"]),
        batch=reply["batch"],
    )


def _flat(job: Mapping[str, Any], depth: int, *, is_self: bool = True) -> Iterator[Relative]:
    yield Relative(job, min(depth, _DEEPEST), is_self)
    for child in job.get("children", ()):
        yield from _flat(child, depth + 1, is_self=False)
