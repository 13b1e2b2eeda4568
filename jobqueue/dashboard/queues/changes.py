"""Changes of a queue: in words, and the values before each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import NONE
from jobqueue.dashboard.frame.view import quoted
from jobqueue.dashboard.queues.subject import DEFAULTS
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobqueue.dashboard.frame.view import View

_LONGEST: Final = 80
_UNKNOWN: Final = ("secret", "previousSecrets")
"""Values of processors that the audit does not have."""


def change_line(change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a change with the lines of its fields, and whether its values can be put back."""
    lines = list(_lines(change))
    can = any(field.rpartition(".")[2] not in _UNKNOWN for field, _, _ in lines) and _is_known(change)
    return {**change, "who": change["by"]["name"], "lines": lines, "can_put_back": can}


async def earlier(view: View, name: str, change_id: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return a change of a queue, and the whole configurations before and after it.

    Raises:
        NotFoundError: the queue has no such change, or its values are not known.
    """
    if not is_id(change_id):
        raise NotFoundError("change", change_id)
    # A page begins after the id of its cursor, newest first.
    query = {"limit": "1", "cursor": f"{min(int(change_id, 16) + 1, 16**24 - 1):024x}"}
    items = (await view.ask(f"/v1/queues/{quoted(name)}/changes", query))["items"]
    if not items or items[0]["id"] != change_id or not _is_known(items[0]):
        raise NotFoundError("change", change_id)
    change = items[0]
    return change, _whole(change["before"]), _whole(change["after"])


def _whole(config: Mapping[str, Any] | None) -> dict[str, Any]:
    given = config or {}
    return {**DEFAULTS, **given, "processors": given.get("processors") or {}}


def _is_known(change: Mapping[str, Any]) -> bool:
    """Tell whether the audit has the values of a change, which it leaves out if they are very large."""
    return not change["unconfirmed"] and all(_is_readable(change[name]) for name in ("before", "after"))


def _is_readable(config: Any) -> bool:
    """Tell whether a configuration in the audit can be shown as a form: other tools may have changed it."""
    if config is None:
        return True
    if not isinstance(config, dict) or "omitted" in config:
        return False
    processors = config.get("processors") or {}
    return isinstance(processors, dict) and all(map(_is_processor, processors.values()))


def _is_processor(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    name = {"webhook": "url", "command": "name"}.get(str(value.get("kind")), "")
    return isinstance(value.get(name), str)


def _lines(change: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the fields that a change has changed, with their values before and after it."""
    before, after = _flat(change["before"]), _flat(change["after"])
    for name in sorted({*before, *after}):
        old, new = before.get(name, NONE), after.get(name, NONE)
        if old != new:
            yield name, old, new


def _flat(config: Any, path: str = "") -> dict[str, str]:
    """Return the values of a configuration by their path, as short texts."""
    if not isinstance(config, dict):
        return {path: compact(config)} if path else {}
    flat: dict[str, str] = {}
    for name, value in config.items():
        flat |= _flat(value, f"{path}.{name}" if path else name)
    return flat


def compact(value: Any) -> str:
    """Return a value as a short text; a dash for none."""
    if value is None:
        return NONE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
