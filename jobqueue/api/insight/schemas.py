"""What comes in and goes out about how things are going: statistics and events."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Inner, Items, Moment, Number, Object, Response, Text, Whole
from jobqueue.api.schemas.queries import FlagText, IdText, Query, Several, StatesText, absent
from jobqueue.services.insight.stats import WINDOWS

_SECONDS: Final = {"minimum": 0}


class WindowsText(Several):
    """One or more windows of time, with commas between them; without it all of them."""

    def __init__(self, **options: Any) -> None:
        one = "|".join(WINDOWS)
        form = {"type": "string", "pattern": f"^({one})(,({one}))*$"}
        super().__init__(load_default=lambda: tuple(WINDOWS), spec=form, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(value.split(",")))
        if not set(given) <= set(WINDOWS):
            raise ValidationError(f"must be one or more of {', '.join(WINDOWS)}, with commas between them")
        return given


class StatsQuery(Query):
    """Which statistics."""

    queue = Text()
    type = Text()
    window = WindowsText()


class EventsQuery(Query):
    """Which changes of jobs to be told of."""

    queue = Text()
    type = Text()
    job = IdText(load_default=absent)
    batch = IdText(load_default=absent)
    state = StatesText()
    progress = FlagText()


class RatesResponse(Response):
    """How many a minute."""

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
    """What has happened."""

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
    """What has happened to the jobs of a type; ``null`` stands for types too many to be told apart."""

    type = Text(allow_none=True)


class QueueFiguresResponse(FiguresResponse):
    """What has happened to the jobs of a queue."""

    queue = Text(allow_none=True)
    types = Items(Inner(TypeFiguresResponse))


class WindowResponse(FiguresResponse):
    """What has happened within a window of time."""

    from_ = Moment(data_key="from")
    to = Moment()
    seconds = Number()
    queues = Items(Inner(QueueFiguresResponse))


class CountsResponse(Response):
    """How many jobs are in which state."""

    total = Object(spec=json_types.COUNTS)
    queues = Object(spec={"additionalProperties": json_types.COUNTS})


class WindowsResponse(Response):
    """The windows that were asked for."""

    sparse = frozenset({"five_minutes", "hour", "day", "week"})
    five_minutes = Inner(WindowResponse, data_key="5m")
    hour = Inner(WindowResponse, data_key="1h")
    day = Inner(WindowResponse, data_key="24h")
    week = Inner(WindowResponse, data_key="7d")


class StatsResponse(Response):
    """How things are going; ``counts`` only if it was not asked for one type."""

    sparse = frozenset({"counts"})
    at = Moment()
    relative_error = Number()
    windows = Inner(WindowsResponse)
    counts = Inner(CountsResponse)
