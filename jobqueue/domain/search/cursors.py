"""Cursors of listings: places as text."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, TypeVar

from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def pack(*place: Any) -> str:
    """Return the cursor of a place, which is made of JSON values."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def unpack(cursor: str, read: Callable[..., T]) -> T:
    """Return the result of ``read``, called with the values of the place.

    Raises:
        InvalidInputError: the text is no cursor, or ``read`` refuses the place.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return read(*json.loads(base64.urlsafe_b64decode(padded.encode())))
    except (ValueError, TypeError, OverflowError, InvalidInputError, RecursionError):
        raise InvalidInputError({"cursor": ["is not a cursor of this listing"]}) from None
