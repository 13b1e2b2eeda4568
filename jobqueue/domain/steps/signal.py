"""Signals: values that people and other programs send to a job, which keeps them until it asks for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.durations import LONGEST, is_number
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.steps.step import check_name
from jobqueue.domain.values import payload

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_WAITING: Final = 100
"""Signals of one job that no step has taken."""
MOST_TAKEN: Final = 100
"""Taken signals that a job remembers, so that a repeated request answers no second question."""
MOST_VALUE: Final = 256 * 1024
"""Bytes of the value of a signal."""
INLINE_VALUE: Final = 1024
"""Bytes of the largest value that is kept in the document of its job."""
TIMEOUT: Final = "timeout"
"""Kind of the error of a step whose signal has not come in time."""
_ID: Final = re.compile(r"[\x20-\x7e]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal that a job has got.

    Attributes:
        id: of the request that has sent it; a second one of this name and id is the same signal.
        name: for which a step waits.
        by: the name of the sender.
        taken: the name of the step that has taken it; its result is the value.
        stored: True if the value is kept outside of the document.
        has_value: False where ``value`` says nothing: a step has taken it, or it was not read.
    """

    id: str
    name: str
    value: Any = None
    at: datetime | None = None
    by: str = ""
    taken: str | None = None
    stored: bool | None = None
    has_value: bool = True

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Signal:
        """Return a signal from its stored form, whatever another tool has made of it."""
        at, taken = entry.get("at"), entry.get("taken")
        return cls(
            id=str(entry.get("id", "")),
            name=str(entry.get("name", "")),
            value=entry.get("value"),
            at=at if isinstance(at, datetime) else None,
            by=str(entry.get("by", "")),
            taken=taken if isinstance(taken, str) else None,
            stored=entry.get("stored") is True or None,
            has_value="value" in entry,
        )


def check_signal(name: object, path: str = "signal") -> str:
    """Return the name of a signal; it may have the same characters as the name of a step.

    Raises:
        InvalidInputError: the name cannot be used.
    """
    return check_name(name, path)


def check_signal_id(value: object, path: str = "id") -> str:
    """Return the id of a request that sends a signal.

    Raises:
        InvalidInputError: it is no text of 1 to 255 printable ASCII characters.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidInputError({path: ["must be 1 to 255 printable ASCII characters"]})
    return value


def check_timeout(value: object, path: str = "timeout") -> float | None:
    """Return the seconds that a job waits for a signal; ``None`` for ever.

    Raises:
        InvalidInputError: it is no number of seconds.
    """
    if value is None:
        return None
    if not is_number(value) or not 0 <= value <= LONGEST:
        raise InvalidInputError({path: [f"must be a number of seconds from 0 to {LONGEST:.15g}"]})
    return value


def check_value(value: object, path: str = "value") -> tuple[Any, int]:
    """Return the value of a signal as it is stored, and its bytes.

    Raises:
        InvalidInputError: it is not what ``data`` may hold.
        TooLargeError: it is over the limit.
    """
    stored, size = payload.plain(value, path, naive=True)
    if size > MOST_VALUE:
        raise TooLargeError("the value of the signal", size, MOST_VALUE)
    return stored, size
