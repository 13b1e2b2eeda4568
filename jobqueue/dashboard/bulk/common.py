"""Values of some jobs side by side, and traits by which they differ from other jobs, as tables show them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import NONE
from jobqueue.domain.bulk.traits import percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ROOTS: Final = ("data", "meta")
_DEEPEST: Final = 5
_MOST_PATHS: Final = 200
_LONGEST: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class TraitRow:
    """A trait with its shares.

    Attributes:
        predicate: the trait in words, after the field.
        alike: traits of other fields that the same jobs have.
        share: per cent of the failed jobs; ``share_text`` has it in words.
        other: per cent of the jobs that succeeded.
    """

    field: str
    predicate: str
    alike: Sequence[str]
    share: int
    share_text: str
    other: int
    other_text: str


def trait_rows(traits: Sequence[Mapping[str, Any]]) -> list[TraitRow]:
    """Return the rows of the traits of a comparison."""
    return [
        TraitRow(
            field=trait["field"],
            predicate=trait["text"].removeprefix(f"{trait['field']} "),
            alike=[other["text"] for other in trait["alike"]],
            share=round(100 * trait["failed"] / trait["failedOf"]),
            share_text=percent(trait["failed"], trait["failedOf"]),
            other=round(100 * trait["succeeded"] / trait["succeededOf"]),
            other_text=percent(trait["succeeded"], trait["succeededOf"]),
        )
        for trait in traits
    ]


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
