"""Dates: as text in ISO 8601, and as Python has them. A time without a zone is refused: nobody knows when it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems

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
        ValueError: it is none, or a time without a zone; the text of the error says which.
    """
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if not isinstance(value, str) or found is None:
        raise ValueError(LOST_PLUS if isinstance(value, str) and _LOST_PLUS.fullmatch(value) else NO_DATE)
    try:
        read = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(NO_DATE) from None
    if not found["zone"] and not _DAY_ALONE.fullmatch(value):
        raise ValueError(NO_ZONE)
    try:
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError(NO_DATE) from None


def aware(value: Any, path: str) -> datetime:
    """Return a date of Python's in UTC.

    Raises:
        InvalidInputError: it is none, or one without a time zone, or one that UTC does not have.
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
    """Make sure that dates, by their names in JSON, are none or have a time zone.

    Raises:
        InvalidInputError: naming each that has none.
    """
    problems: Problems = {}
    for path, value in dates.items():
        if value is not None:
            try:
                aware(value, path)
            except InvalidInputError as error:
                problems |= error.problems
    if problems:
        raise InvalidInputError(problems)
