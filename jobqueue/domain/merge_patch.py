"""JSON merge patches (RFC 7396)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def merged(present: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with a merge patch applied: ``null`` removes a member, and objects are merged."""
    result = dict(present)
    for name, change in patch.items():
        old = result.get(name)
        if change is None:
            result.pop(name, None)
        elif isinstance(change, dict):
            result[name] = merged(old if isinstance(old, dict) else {}, change)
        else:
            result[name] = change
    return result
