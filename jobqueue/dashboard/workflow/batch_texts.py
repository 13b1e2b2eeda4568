"""Batches in words: their names, what became of them, and when they will be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame import texts
from jobqueue.domain.jobs.short_ids import tail

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

_NAMES: Final = ("name", "title", "workflow")
"""Paths of ``meta`` that can have the name of a batch."""
_MOST_META: Final = 3
_LONGEST_META: Final = 30
_LONGEST_NAME: Final = 80
_FINAL: Final = ("success", "failed", "killed")
_EVENTS: Final = {
    "complete": ("onComplete", "when all jobs have ended"),
    "success": ("onSuccess", "when all jobs have succeeded"),
    "failure": ("onFailure", "with the first job that fails for good"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchText:
    """A batch for people.

    Attributes:
        shape: the state whose shape and colour stand for the batch.
        word: the state of the batch.
        meta: a few values besides the name.
        ended: the number of jobs that have ended.
        eta: the seconds until the end at the pace so far, if that says anything.
    """

    id: str
    name: str
    shape: str
    word: str
    meta: Sequence[tuple[str, str]]
    ended: int
    eta: float | None
    batch: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackText:
    """Callbacks of one event: the types of their jobs, when they fire, and the jobs that they are."""

    event: str
    types: str
    when: str
    jobs: Sequence[Mapping[str, Any]]
    stand_ins: Sequence[Mapping[str, Any]]


def batch_rows(batches: Iterable[Mapping[str, Any]], now: datetime) -> list[BatchText]:
    """Return batches of the API for people."""
    return [batch_text(batch, now) for batch in batches]


def batch_text(batch: Mapping[str, Any], now: datetime) -> BatchText:
    """Return a batch of the API for people."""
    name, meta = _name(batch["meta"])
    shape, word = _state(batch)
    return BatchText(
        id=batch["id"],
        name=name or f"Batch {tail(batch['id'])}",
        shape=shape,
        word=word,
        meta=meta,
        ended=sum(batch["counts"][state] for state in _FINAL),
        eta=_eta(batch, now),
        batch=batch,
    )


def callback_texts(batch: Mapping[str, Any], jobs: Iterable[Mapping[str, Any]]) -> list[CallbackText]:
    """Return the callbacks of a batch for people.

    Args:
        batch: of the API.
        jobs: that callbacks have become.
    """
    made = list(jobs)
    rows = []
    for event, (field, when) in _EVENTS.items():
        given = batch[field]
        group = given if isinstance(given, list) else [given] if given else []
        of_event = [job for job in made if _event(job) == event]
        if group or of_event:
            rows.append(
                CallbackText(
                    event=field,
                    types=", ".join(dict.fromkeys(str(job.get("type", "")) for job in group)),
                    when=when,
                    jobs=of_event,
                    stand_ins=[each for each in batch["standIns"] if each["event"] == event],
                )
            )
    return rows


def _event(job: Mapping[str, Any]) -> str:
    origin = job.get("callbackOf")
    return str(origin.get("event", "")) if isinstance(origin, dict) else ""


def _name(meta: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    named = next((path for path in _NAMES if isinstance(meta.get(path), str) and meta[path].strip()), None)
    rest = [
        (texts.shorten(path, _LONGEST_META), texts.shorten(str(value), _LONGEST_META))
        for path, value in meta.items()
        if path != named and isinstance(value, str | int | float)
    ]
    return texts.shorten(meta[named], _LONGEST_NAME) if named else "", rest[:_MOST_META]


def _state(batch: Mapping[str, Any]) -> tuple[str, str]:
    if batch["state"] == "open":
        return "processing", "open"
    return ("success", "succeeded") if batch["verdict"] == "success" else ("failed", "ended with failures")


def _eta(batch: Mapping[str, Any], now: datetime) -> float | None:
    """Return the seconds that the rest takes at the pace so far; ``None`` if nothing runs or has ended."""
    counts, began = batch["counts"], texts.parsed(batch["insertAt"])
    if batch["state"] != "open" or not counts["processing"] or batch["generation"] or began is None:
        return None
    progress = float(batch["progress"])
    if not 0 < progress < 100:  # noqa: PLR2004 - percent
        return None
    return (now - began).total_seconds() * (100 - progress) / progress
