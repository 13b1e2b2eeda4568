"""The overview's first part: what needs somebody, in sentences."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.bulk.groups import parts
from jobqueue.dashboard.frame.texts import count
from jobqueue.dashboard.queues.standing import concerns, oldest, pause_of, reasons_by_queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.view import View

_EACH: Final = 3
"""Concerns of a kind that are shown."""
_NOUNS: Final = (
    (("queue", "breaker"), "queue", "queue"),
    (("failures",), "fingerprint", "group of failures"),
    (("worker",), "worker", "worker"),
    (("schedule",), "schedule", "schedule"),
    (("doubt", "question"), "job", "question"),
    (("operation",), "operation", "operation"),
)
_ORDER: Final = ("queue", "breaker", "failures", "worker", "schedule", "doubt", "question", "operation")
_PLACES: Final = {
    "failures": ("/failures", "group of failures"),
    "queue": ("/queues", "queue"),
    "breaker": ("/queues", "breaker"),
    "worker": ("/workers", "worker"),
    "schedule": ("/schedules", "schedule"),
    "doubt": ("/inbox", "step in doubt"),
    "question": ("/inbox", "question"),
    "operation": ("/inbox?kind=other", "operation"),
}


async def needs(view: View) -> dict[str, Any]:
    """Return the headline, the concerns to show, and the numbers of further ones with the pages that have them."""
    found = await concerns(view)
    ranked = sorted(_merged(found), key=lambda concern: _ORDER.index(concern["kind"]))
    by_kind = {kind: [concern for concern in ranked if concern["kind"] == kind] for kind in _ORDER}
    shown = [concern for kind in _ORDER for concern in by_kind[kind][:_EACH]]
    return {
        "headline": headline(found),
        "reasons": reasons_by_queue(found),
        "concerns": await asyncio.gather(*(_with_dates(view, concern) for concern in shown)),
        "further": [
            (_PLACES[kind][0], count(len(each) - _EACH, f"further {_noun(kind)}", f"further {_plural(_noun(kind))}"))
            for kind, each in by_kind.items()
            if len(each) > _EACH
        ],
    }


def headline(concerns: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence such as ``3 queues and 1 question need you``."""
    parts = []
    total = 0
    for kinds, name, noun in _NOUNS:
        number = len({concern.get(name, place) for place, concern in enumerate(concerns) if concern["kind"] in kinds})
        if number:
            parts.append(count(number, noun, _plural(noun)))
            total += number
    if not parts:
        return "Nothing needs you"
    text = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return f"{text} {'needs' if total == 1 else 'need'} you"


async def _with_dates(view: View, concern: dict[str, Any]) -> dict[str, Any]:
    if concern["kind"] == "failures" and "error" in concern:
        return concern | {"parts": parts(_without_repetition(concern["error"]))}
    if "oldestPendingAge" not in concern:
        return concern
    pause = await pause_of(view, concern["queue"]) if "paused" in concern.get("reasons", ()) else None
    return concern | {"oldest": oldest(concern["oldestPendingAge"], view.now), "pause": pause}


def _merged(concerns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return concerns where a breaker that is the only reason of a stuck queue has the figures of the queue."""
    broken = {concern["queue"] for concern in concerns if concern["kind"] == "breaker"}
    stuck = {
        concern["queue"]: concern
        for concern in concerns
        if concern["kind"] == "queue" and concern["queue"] in broken and set(concern["reasons"]) == {"breaker"}
    }
    figures = {
        queue: {name: concern[name] for name in ("pending", "oldestPendingAge")} for queue, concern in stuck.items()
    }
    return [
        concern | figures.get(concern["queue"], {}) if concern["kind"] == "breaker" else concern
        for concern in concerns
        if concern["kind"] != "queue" or concern["queue"] not in stuck
    ]


def _without_repetition(error: str) -> str:
    kind, _, rest = error.partition(": ")
    return rest if rest.startswith(kind) else error


def _noun(kind: str) -> str:
    return _PLACES[kind][1]


def _plural(noun: str) -> str:
    return {"group of failures": "groups of failures", "step in doubt": "steps in doubt"}.get(noun, f"{noun}s")
