"""Dates as text, in ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)


def moment(value: object) -> datetime:
    """Return a date from ISO 8601, in UTC; without an offset it is UTC.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("not a date")
    try:
        read = datetime.fromisoformat(value.upper())
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a date") from None
