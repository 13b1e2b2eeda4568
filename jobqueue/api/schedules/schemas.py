"""Requests about schedules, and their replies."""

from __future__ import annotations

from typing import Final, get_args

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Anything, Flag, Inner, Items, Moment, Number, Response, Strict, Text, page
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.schedules.cron import LONGEST_EVERY, SHORTEST_EVERY
from jobqueue.domain.schedules.schedule import Missed


class ScheduleSchema(Strict):
    """A schedule to put; `domain.schedules.schedule` reads it."""

    cron = Text(allow_none=True)
    timezone = Text()
    every = Number(allow_none=True, spec={"minimum": SHORTEST_EVERY, "maximum": LONGEST_EVERY})
    job = Inner(NewJobSchema, required=True)
    missed = Text(spec={"enum": list(get_args(Missed))})
    paused = Flag()


class RunResponse(Response):
    """A job that a schedule has made."""

    id = Text(spec=json_types.ID)
    at = Moment()
    state = Text(spec=json_types.STATE)


class SkippedResponse(Response):
    """A time for which a schedule has made no job."""

    at = Moment()
    reason = Text()


class ScheduleResponse(Response):
    """A schedule; one that was spoilt by hand has no definition."""

    sparse = frozenset({"cron", "timezone", "every", "job", "missed", "paused"})
    name = Text()
    cron = Text(allow_none=True)
    timezone = Text()
    every = Number(allow_none=True)
    job = Anything(spec=json_types.named("NewJob"))
    missed = Text()
    paused = Flag()
    next_at = Moment(allow_none=True)
    next_runs = Items(Moment())
    last_runs = Items(Inner(RunResponse))
    last_skipped = Inner(SkippedResponse, allow_none=True)
    created_at = Moment()
    changed_at = Moment()


SchedulePage: Final = page("SchedulePage", ScheduleResponse)
