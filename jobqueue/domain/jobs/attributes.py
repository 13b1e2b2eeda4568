"""Searchable attributes: every scalar in a job's ``meta`` as one string, such as ``user.id=42``.

One array of them under one index answers "newest jobs with this value" for any path without configuration.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST: Final = 100
"""Scalars in one ``meta``."""
LONGEST: Final = 200
"""Characters of a searchable path or text; longer texts are compared in the document."""
_QUOTED: Final = json.JSONEncoder(ensure_ascii=False).encode


def encode(path: str, value: Any) -> str | None:
    """Return the attribute of a scalar, or ``None`` if there is no attribute of this value."""
    if len(path) > LONGEST:
        return None
    if isinstance(value, str):
        return f"{path}={_QUOTED(value)}" if len(value) <= LONGEST else None
    if type(value) is int:
        return f"{path}={value}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or isinstance(value, bool | int | float):
        return f"{path}={json.dumps(value)}"
    return None


def scalars(meta: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each scalar with its dotted path; the members of a list share the list's path."""
    for name, value in meta.items():
        path = f"{prefix}{name}"
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, dict):
                yield from scalars(item, f"{path}.")
            else:
                yield path, item


def attributes(meta: Mapping[str, Any]) -> list[str]:
    """Return the attributes of a ``meta`` in their order, each once."""
    known = dict.fromkeys([encode(path, value) for path, value in scalars(meta)])
    return [attribute for attribute in known if attribute is not None]
