"""Examples of answers, which a server has given.

``scripts/examples`` writes them; ``tests/integration/http/test_examples.py`` compares them with the answers of today.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import orjson


def of(operation: str, status: int) -> dict[str, Any]:
    """Return the example of an answer as the keyword of a media type, if there is one."""
    examples = _read().get(operation, {})
    return {"example": examples[str(status)]} if str(status) in examples else {}


@cache
def _read() -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = orjson.loads(
        files("jobqueue.api.description").joinpath("examples.json").read_bytes()
    )
    return read
