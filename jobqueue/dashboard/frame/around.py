"""Parts of every page around its content: the counts in the rail, and the operations that run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.problems import ProblemError
from jobqueue.dashboard.frame.kept import KEPT
from jobqueue.dashboard.frame.texts import parsed
from jobqueue.domain.errors import JobQueueError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.dashboard.frame.view import View

KEPT_SECONDS: Final = 5.0
PATIENCE: Final = 0.05
"""Seconds that a page waits for its surroundings."""
_MOST: Final = 99
_MOST_OPERATIONS: Final = 20
_SHOWN: Final = 2
_ASKED: Final = str(_MOST + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The surroundings of a page.

    Attributes:
        counts: texts by the name of an entry of the rail.
        operations: the newest running ones.
        further: the number of other running operations.
    """

    counts: Mapping[str, str] = field(default_factory=dict)
    operations: Sequence[Mapping[str, Any]] = ()
    further: int = 0


NOTHING: Final = Around()


async def around(view: View) -> Around:
    """Return what surrounds a page; it may be some seconds old, or nothing where the server is slow."""
    found = await view.request.app[KEPT].soon(("around", view.caller), KEPT_SECONDS, lambda: _look(view), PATIENCE)
    return NOTHING if found is None else found


async def _look(view: View) -> Around:
    failures, doubts, questions, running = await asyncio.gather(
        _count(view, "/v1/failures", {"limit": _ASKED}),
        _count(view, "/v1/jobs", {"waiting": "doubt", "limit": _ASKED, "fields": "id"}),
        _count(view, "/v1/jobs", {"waiting": "signal", "limit": _ASKED, "fields": "id"}),
        _items(view, "/v1/operations", {"state": "running", "limit": str(_MOST_OPERATIONS)}),
    )
    counts = {"Failures": failures, "Waiting for you": doubts + questions, "Operations": len(running)}
    return Around(
        counts={name: f"{_MOST}+" if count > _MOST else str(count) for name, count in counts.items() if count},
        operations=[one | {"left": _left(one, view.now)} for one in running[:_SHOWN]],
        further=max(0, len(running) - _SHOWN),
    )


async def _count(view: View, path: str, query: Mapping[str, str]) -> int:
    return len(await _items(view, path, query))


async def _items(view: View, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        items: list[dict[str, Any]] = (await view.ask(path, query))["items"]
    except (JobQueueError, ProblemError):
        # Not for this visitor, or too many: the page itself says so where it matters.
        return []
    return items


def _left(operation: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds that an operation may still take at the speed that it had until now."""
    began = parsed(operation["insertAt"])
    matched: int | None = operation["matched"]
    ready: int = operation["done"] + operation["skipped"] + operation["failed"]
    if began is None or not matched or not ready or ready >= matched or operation["isTrial"]:
        return None
    return (now - began).total_seconds() / ready * (matched - ready)
