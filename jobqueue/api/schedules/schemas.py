"""Requests about schedules, and their replies."""

from __future__ import annotations

from typing import Final, get_args

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, page
from jobqueue.api.schemas.queries import FlagText, Query
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.schedules.cron import LONGEST_EVERY, SHORTEST_EVERY
from jobqueue.domain.schedules.outlook import MOST_STARTS, STARTS
from jobqueue.domain.schedules.schedule import Missed


class PutQuery(Query):
    """Options of a change."""

    dry_run = FlagText(data_key="dryRun")


class ScheduleSchema(Strict):
    """A schedule to put; `domain.schedules.schedule` reads it."""

    cron = fields.Text(allow_none=True)
    timezone = fields.Text()
    every = fields.Number(allow_none=True, spec={"minimum": SHORTEST_EVERY, "maximum": LONGEST_EVERY})
    job = fields.Inner(NewJobSchema, required=True)
    missed = fields.Text(spec={"enum": list(get_args(Missed))})
    paused = fields.Flag()


class TimesSchema(Strict):
    """Times that no schedule needs to have yet."""

    cron = fields.Text(allow_none=True)
    timezone = fields.Text()
    every = fields.Number(allow_none=True, spec={"minimum": SHORTEST_EVERY, "maximum": LONGEST_EVERY})
    count = fields.Whole(spec={"minimum": 1, "maximum": MOST_STARTS, "default": STARTS})


class RunResponse(Response):
    """A job that a schedule has made."""

    id = fields.Text(spec=json_types.ID)
    at = fields.Moment()
    state = fields.Text(spec=json_types.STATE)


class SkippedResponse(Response):
    """A time for which a schedule has made no job."""

    at = fields.Moment()
    reason = fields.Text()


class DeclaredResponse(Response):
    """The declaration of a schedule in code."""

    by = fields.Text()
    at = fields.Moment()
    edited = fields.Items(fields.Text())
    missing_since = fields.Moment(allow_none=True)


class ScheduleResponse(Response):
    """A schedule; one that was spoilt by hand has no definition."""

    sparse = frozenset({"cron", "timezone", "every", "job", "missed", "paused"})
    name = fields.Text()
    cron = fields.Text(allow_none=True)
    timezone = fields.Text()
    every = fields.Number(allow_none=True)
    job = fields.Anything(spec=json_types.named("NewJob"))
    missed = fields.Text()
    paused = fields.Flag()
    next_at = fields.Moment(allow_none=True)
    next_runs = fields.Items(fields.Moment())
    last_runs = fields.Items(fields.Inner(RunResponse))
    last_skipped = fields.Inner(SkippedResponse, allow_none=True)
    created_at = fields.Moment()
    changed_at = fields.Moment()
    declared = fields.Inner(DeclaredResponse, allow_none=True)


_CLOCK: Final = {"enum": ["forward", "back"], "description": "clocks of the zone are changed on this day"}
_LOCAL: Final = {"format": "date-time", "description": "as clocks in the zone of the schedule show it"}


class StartResponse(Response):
    """A next time of a schedule."""

    at = fields.Moment()
    local = fields.Text(spec=_LOCAL)
    clock = fields.Text(allow_none=True, spec=_CLOCK)


class ClockChangeResponse(Response):
    """The next day on which clocks are changed."""

    day = fields.Text(spec={"format": "date"})
    clock = fields.Text(spec=_CLOCK)
    starts = fields.Items(fields.Text(spec=_LOCAL), spec={"description": "the first 24 of that day"})


class OutlookResponse(Response):
    """The next times of a schedule, stored or not."""

    cron = fields.Text(allow_none=True)
    timezone = fields.Text()
    every = fields.Number(allow_none=True)
    starts = fields.Items(fields.Inner(StartResponse))
    clock_change = fields.Inner(
        ClockChangeResponse, allow_none=True, spec={"description": "within a year; `null` if clocks never change"}
    )


SchedulePage: Final = page("SchedulePage", ScheduleResponse)
