"""The rows of the list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import NONE, compact
from jobqueue.dashboard.jobs.search.columns import value_of
from jobqueue.dashboard.jobs.search.reasons import Reason, plain, reason
from jobqueue.dashboard.jobs.search.room import MOST_TITLE, Links, cut, longest, room_of, size
from jobqueue.domain.jobs.short_ids import tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.jobs.search.columns import Column

_TEXTS: Final = frozenset({"type", "text", "number", "any"})
_LONGEST_CELL: Final = 90
_LEAST_WITH_BACK: Final = 60
"""Bytes of texts that leave room for ways back."""
_TIGHT: Final = 90
"""Bytes of texts, below which ages lose their exact times."""
_WIDE_TYPE: Final = 13
"""Characters of a type that fit into the usual width."""
_WIDE_ID: Final = 7


def rows(
    jobs: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    reasons: Mapping[str, list[dict[str, Any]]],
    back: str,
    links: Links,
) -> dict[str, Any]:
    """Return the rows, the columns with their widths, and the parameter of links that leads back to the list.

    Args:
        jobs: as the API lists them.
        columns: of the list.
        reasons: why no job of a queue starts, by queue.
        back: the parameter; it is left out of the second link of each row, or of both, where there is no room. The
            script adds it then.
        links: around the rows.
    """
    lines = [reason(job, reasons) if _has(columns, "reason") else Reason() for job in jobs]
    texts = [[_text(column, job) for column in columns] for job in jobs]
    room = room_of(columns, [job["state"] for job in jobs], links)
    everything = [*map(plain, lines), *(text[:_LONGEST_CELL] for cells in texts for text in cells if text is not None)]
    need = sum(min(_LEAST_WITH_BACK, size(text)) for text in everything)
    with_back = next((many for many in (2, 1) if many * len(back) * len(jobs) + need <= room), 0)
    is_tight = longest(everything, room) < _TIGHT
    room += MOST_TITLE * len(jobs) if is_tight else -with_back * len(back) * len(jobs)
    most = longest(everything, room)
    return {
        "rows": [
            {"job": job, "reason": _cut(line, most), "cells": _cells(columns, job, cells, min(most, _LONGEST_CELL))}
            for job, line, cells in zip(jobs, lines, texts, strict=True)
        ],
        "back": back if with_back else "",
        "second_back": back if with_back > 1 else "",
        "is_tight": is_tight,
    }


def widened(columns: Sequence[Column], jobs: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return columns with more room for long types, and for the short ids of jobs that were added together."""
    wide = {
        "type": any(len(job["type"]) > _WIDE_TYPE for job in jobs),
        "id": any(len(tail(job["id"])) > _WIDE_ID for job in jobs),
    }
    return [replace(column, width="bw") if wide.get(column.kind) else column for column in columns]


def _has(columns: Sequence[Column], kind: str) -> bool:
    return any(column.kind == kind for column in columns)


def _text(column: Column, job: dict[str, Any]) -> str | None:
    """Return the text of a cell; ``None`` for a cell that is not a text."""
    if column.kind not in _TEXTS:
        return None
    value = value_of(job, column.name)
    if value is None:
        return NONE
    return value if isinstance(value, str) else compact(value)


def _cut(line: Reason, most: int) -> Reason:
    return replace(line, text=cut(line.text, most), more=cut(line.more, max(0, most - size(line.text))))


def _cells(columns: Sequence[Column], job: dict[str, Any], texts: list[str | None], most: int) -> list[Any]:
    return [
        (column, cut(text, most) if text is not None else value_of(job, column.name))
        for column, text in zip(columns, texts, strict=True)
    ]
