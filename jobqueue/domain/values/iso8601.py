"""Dates in ISO 8601 and in Python. A time without a zone is refused, because it names no moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import gather

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
NO_DATE: Final = "must be an ISO 8601 date such as 2030-01-31T12:00:00Z"
NO_ZONE: Final = "must have a time zone: add Z or an offset such as +02:00"
NO_ZONE_IN_PYTHON: Final = "must have a time zone, as datetime.now(UTC) has: a naive date says no moment"
LOST_PLUS: Final = "has a space where the offset begins: write + as %2B in a URL"
_DAY: Final = r"\d{4}-\d\d-\d\d"
_TIME: Final = r"[Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?"
_DATE: Final = re.compile(rf"{_DAY}({_TIME}(?P<zone>[Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)
_DAY_ALONE: Final = re.compile(_DAY, re.ASCII)
_LOST_PLUS: Final = re.compile(rf"{_DAY}{_TIME} \d\d:?\d\d", re.ASCII)


def moment(value: object) -> datetime:
    """Return a date from ISO 8601, in UTC; a day alone is its midnight in UTC.

    Raises:
        ValueError: the value is no date, or a time without a zone; the text of the error says which.
    """
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if not isinstance(value, str) or match is None:
        raise ValueError(LOST_PLUS if isinstance(value, str) and _LOST_PLUS.fullmatch(value) else NO_DATE)
    try:
        read = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(NO_DATE) from None
    if not match["zone"] and not _DAY_ALONE.fullmatch(value):
        raise ValueError(NO_ZONE)
    try:
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError(NO_DATE) from None


def aware(value: Any, path: str) -> datetime:
    """Return a date of Python in UTC.

    Raises:
        InvalidInputError: the value is no date, a date without a time zone, or a date that UTC does not have.
    """
    if not isinstance(value, datetime):
        raise InvalidInputError({path: ["must be a date"]})
    if value.utcoffset() is None:
        raise InvalidInputError({path: [NO_ZONE_IN_PYTHON]})
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError({path: ["is a date that UTC does not have"]}) from None


def check_aware(**dates: Any) -> None:
    """Check dates by their names in JSON; ``None`` is no date.

    Raises:
        InvalidInputError: naming each date without a time zone.
    """
    problems: Problems = {}
    for path, value in dates.items():
        if value is not None:
            gather(problems, aware, value, path)
    if problems:
        raise InvalidInputError(problems)
