"""Changes of a job by people, in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.jobs.detail.room import Room

_VERBS: Final = {
    "patch": "changed",
    "requeue": "requeued the job",
    "kill": "killed the job",
    "delete": "deleted the job",
    "signal": "sent a signal",
    "decide": "decided a step in doubt",
}
_STATE: Final = frozenset({"state", "attemptsMade"})
_MOST_FIELDS: Final = 8
_LONGEST: Final = 160
_NONE: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change.

    Attributes:
        at: its time.
        who: the name of the person.
        verb: for people.
        fields: name, value before and value after of each field; a value is empty if it is not known.
    """

    at: str
    who: str
    verb: str
    fields: Sequence[tuple[str, str, str]]
    is_unconfirmed: bool


def changes(entries: Sequence[Mapping[str, Any]], room: Room) -> list[Change]:
    """Return entries of the audit for people, in their order, as many as there is room for."""
    shown = []
    for entry in entries:
        if room.is_used_up:
            break
        room.take(200)
        action = str(entry["action"])
        shown.append(
            Change(
                at=entry["at"],
                who=room.text(str((entry.get("by") or {}).get("name") or "somebody"), 120),
                verb=_VERBS.get(action, action),
                fields=_fields(entry, room),
                is_unconfirmed=bool(entry.get("unconfirmed")),
            )
        )
    return shown


def _fields(entry: Mapping[str, Any], room: Room) -> list[tuple[str, str, str]]:
    before, after = (value if isinstance(value := entry.get(name), dict) else {} for name in ("before", "after"))
    names = [name for name in dict.fromkeys([*before, *after]) if name not in _STATE]
    found: list[tuple[str, str, str]] = []
    for name in names:
        for path, old, new in _differences(name, before.get(name, _NONE), after.get(name, _NONE)):
            if len(found) >= _MOST_FIELDS:
                return found
            found.append((room.text(path, 120), room.text(old, _LONGEST), room.text(new, _LONGEST)))
    return found


def _differences(path: str, old: Any, new: Any) -> list[tuple[str, str, str]]:
    """Return the values that differ; those of objects one by one, a level deep."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key, _NONE) != new.get(key, _NONE)]
        return [(f"{path}.{key}", _written(old.get(key, _NONE)), _written(new.get(key, _NONE))) for key in keys]
    return [(path, _written(old), _written(new))]


def _written(value: Any) -> str:
    return "" if value is _NONE else json.dumps(value, ensure_ascii=False)
