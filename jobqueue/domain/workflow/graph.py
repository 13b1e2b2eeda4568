"""The jobs of a batch and the jobs that each depends on."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class Node(NamedTuple):
    """A job of a graph; fields that were not asked for are empty."""

    id: str
    ref: str | None
    type: str
    queue: str
    state: str
    depends_on: list[str]
    attempts_made: int
    start_at: datetime | None
    end_at: datetime | None


NODE_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ref": "ref",
        "type": "type",
        "queue": "queue",
        "state": "state",
        "dependsOn": "depends_on",
        "attemptsMade": "attempts_made",
        "startAt": "start_at",
        "endAt": "end_at",
    }
)
"""Attributes of a `Node` by the names of the fields of a job."""
