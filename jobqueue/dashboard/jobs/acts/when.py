"""Times in fields of forms, in the zone of the visitor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobqueue.dashboard.frame.texts import parsed
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.preferences import Preferences


def local_time(value: Any, preferences: Preferences) -> str:
    """Return a time of the API as a field shows it; empty for none."""
    time = parsed(value)
    return "" if time is None else f"{preferences.local(time):%Y-%m-%dT%H:%M}"


def moment(text: str, field: str, preferences: Preferences) -> str | None:
    """Return the time of a field for the API; ``None`` for an empty one.

    Raises:
        InvalidInputError: it is no time.
    """
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text)
        aware = local if local.tzinfo else local.replace(tzinfo=preferences.zone)
        return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise InvalidInputError({field: ["must be a date and a time, as 2030-01-31T18:30"]}) from None
