"""The next times of schedules that need not be stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.durations import is_whole
from jobqueue.domain.errors import InvalidInputError, NotFoundError, Problems
from jobqueue.domain.schedules.outlook import MOST_STARTS, outlook, shown
from jobqueue.domain.schedules.schedule import check_name, read_recurrence, timing
from jobqueue.domain.values.checks import gather
from jobqueue.services.schedules.schedules import is_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.schedules.schedules import ScheduleStore


async def preview(
    store: ScheduleStore, definition: Mapping[str, Any], *, name: str, count: int, scope: Scope = EVERYTHING
) -> dict[str, Any]:
    """Return the next times of a definition as JSON.

    Args:
        store: of schedules.
        definition: ``cron`` and perhaps ``timezone``, or ``every``.
        name: of the schedule, from whose creation ``every`` counts; from now on if there is none.
        count: of times, at most `MOST_STARTS`.
        scope: of the caller.

    Raises:
        InvalidInputError: naming each unacceptable field.
        NotFoundError: a schedule of this name is outside of the scope.
    """
    problems: Problems = {}
    recurrence = gather(problems, read_recurrence, definition)
    gather(problems, check_name, name)
    if not is_whole(count) or not 1 <= count <= MOST_STARTS:
        problems["count"] = [f"must be from 1 to {MOST_STARTS}"]
    if problems:
        raise InvalidInputError(problems)
    stored = await store.find(name)
    if stored is not None and not is_within(stored, scope):
        raise NotFoundError("schedule", name)
    anchor = None if stored is None else stored.created_at
    found = await asyncio.to_thread(outlook, recurrence, await store.now(), anchor, count)
    return timing(recurrence) | shown(found)
