"""Values of documents, which another tool may have spoilt: a value of another kind has a default."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from bson import ObjectId

from jobqueue.domain.durations import is_number

_LARGEST: Final = 2**63 - 1


def date_or_none(stored: object) -> datetime | None:
    """Return a date, or ``None`` for any other value and for a date beyond Python's range."""
    return stored if isinstance(stored, datetime) else None


def text(stored: object) -> str | None:
    """Return a text, or ``None``."""
    return stored if type(stored) is str else None


def texts(stored: object) -> tuple[str, ...]:
    """Return the entries of a list as texts."""
    return tuple(map(str, stored)) if isinstance(stored, list) else ()


def entries(stored: object) -> list[Any]:
    """Return a list as it is, and an empty list for any other value."""
    return stored if isinstance(stored, list) else []


def mapping(stored: object) -> dict[str, Any]:
    """Return an object as it is, and an empty object for any other value."""
    return stored if isinstance(stored, dict) else {}


def id_or_none(stored: object) -> str | None:
    """Return an id as 24 hex digits, or ``None``."""
    return str(stored) if isinstance(stored, str | ObjectId) and ObjectId.is_valid(stored) else None


def ids(stored: object) -> tuple[str, ...]:
    """Return the ids among the entries of a list."""
    if not stored:
        return ()
    return tuple(known for entry in entries(stored) if (known := id_or_none(entry)) is not None)


def whole(stored: object, default: int) -> int:
    """Return a whole number that JSON and MongoDB can take; another tool may have stored a larger number."""
    if type(stored) is int and -_LARGEST <= stored <= _LARGEST:
        return stored
    return int(min(max(number(stored, default), -_LARGEST), _LARGEST))


def number(stored: object, default: float) -> float:
    """Return a finite number."""
    return stored if type(stored) is int or is_number(stored) else default
