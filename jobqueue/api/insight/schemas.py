"""Requests about statistics, events and the audit, and their replies."""

from __future__ import annotations

from typing import Final

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import (
    Anything,
    Flag,
    Inner,
    Items,
    Moment,
    Number,
    Object,
    Response,
    Text,
    Whole,
    page,
)
from jobqueue.api.schemas.queries import ChoicesText, ChoiceText, FlagText, IdText, LimitText, Query, StatesText, absent
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.services.insight.stats import WINDOWS

_SECONDS: Final = {"minimum": 0}


class StatsQuery(Query):
    """Filter and windows of statistics."""

    queue = Text()
    type = Text()
    window = ChoicesText(WINDOWS, lambda: tuple(WINDOWS), attribute="windows")


class EventsQuery(Query):
    """Filter of events."""

    queue = Text()
    type = Text()
    job = IdText(attribute="job_id", load_default=absent)
    batch = IdText(attribute="batch_id", load_default=absent)
    state = StatesText(attribute="states")
    progress = FlagText(attribute="with_progress")


class RatesResponse(Response):
    """Rates, a minute."""

    added = Number(spec=_SECONDS)
    started = Number(spec=_SECONDS)
    finished = Number(spec=_SECONDS)


class TimesResponse(Response):
    """Percentiles of times, in seconds."""

    count = Whole()
    p50 = Number(allow_none=True)
    p90 = Number(allow_none=True)
    p99 = Number(allow_none=True)


class FiguresResponse(Response):
    """Activity of jobs."""

    added = Whole()
    started = Whole()
    succeeded = Whole()
    failed = Whole()
    killed = Whole()
    attempts = Object(spec=json_types.COUNTS)
    per_minute = Inner(RatesResponse)
    wait = Inner(TimesResponse)
    run = Inner(TimesResponse)


class TypeFiguresResponse(FiguresResponse):
    """Activity of the jobs of a type; ``null`` stands for the types beyond the bound."""

    type = Text(allow_none=True)


class QueueFiguresResponse(FiguresResponse):
    """Activity of the jobs of a queue."""

    queue = Text(allow_none=True)
    types = Items(Inner(TypeFiguresResponse))


class WindowResponse(FiguresResponse):
    """Activity within a window of time."""

    from_ = Moment(data_key="from")
    to = Moment()
    seconds = Number()
    queues = Items(Inner(QueueFiguresResponse))


class CountsResponse(Response):
    """Jobs by state."""

    total = Object(spec=json_types.COUNTS)
    queues = Object(spec={"additionalProperties": json_types.COUNTS})


class WindowsResponse(Response):
    """Activity by window."""

    sparse = frozenset({"five_minutes", "hour", "day", "week"})
    five_minutes = Inner(WindowResponse, data_key="5m")
    hour = Inner(WindowResponse, data_key="1h")
    day = Inner(WindowResponse, data_key="24h")
    week = Inner(WindowResponse, data_key="7d")


class StatsResponse(Response):
    """Statistics; ``counts`` are missing in those of one type."""

    sparse = frozenset({"counts"})
    at = Moment()
    relative_error = Number()
    windows = Inner(WindowsResponse)
    counts = Inner(CountsResponse)


class AuditQueryString(Query):
    """Filter of the audit."""

    kind = ChoiceText("job", "batch", "queue", "schedule", "token", "operation", load_default=absent)
    name = Text(load_default=absent)
    action = Text(load_default=absent)
    actor = Text(load_default=absent)
    after = Moment(load_default=absent)
    before = Moment(load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = IdText(load_default=absent)


class ChangeResponse(Response):
    """An entry of the audit."""

    id = Text(spec=json_types.ID)
    at = Moment()
    by = Object()
    action = Text()
    target = Object()
    unconfirmed = Flag()
    before = Anything(allow_none=True, spec={})
    after = Anything(allow_none=True, spec={})


ChangePage: Final = page("ChangePage", ChangeResponse)
