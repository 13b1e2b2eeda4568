"""The jobs of a batch with the jobs that each depends on."""

from __future__ import annotations

from typing import Any, Final

Node = dict[str, Any]
"""A job of a graph: its ``id``, and those of its `NODE_FIELDS` that were asked for, with their dates as dates.

Ten thousand of them make a graph. So they are neither copied nor made of more than is needed.
"""
NODE_FIELDS: Final = ("ref", "type", "queue", "state", "dependsOn", "attemptsMade", "startAt", "endAt")
NODE_DATES: Final = frozenset({"startAt", "endAt"})
