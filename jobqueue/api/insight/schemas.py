"""Requests about statistics, events and the audit, and their replies."""

from __future__ import annotations

from typing import Final

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, page
from jobqueue.api.schemas.queries import ChoicesText, ChoiceText, FlagText, IdText, LimitText, Query, StatesText, absent
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.services.concerns import CONCERNS
from jobqueue.services.insight.series import BY_QUEUE, STEPS
from jobqueue.services.insight.stats import WINDOWS

_SECONDS: Final = {"minimum": 0}


class StatsQuery(Query):
    """Filter and windows of statistics."""

    queue = fields.Text()
    type = fields.Text()
    window = ChoicesText(WINDOWS, lambda: tuple(WINDOWS), attribute="windows")


class SeriesQuery(Query):
    """Span and step of a series, and its filter."""

    step = ChoiceText(*STEPS, load_default=absent)
    from_ = fields.Moment(data_key="from", attribute="since", load_default=absent)
    to = fields.Moment(attribute="until", load_default=absent)
    queue = fields.Text()
    type = fields.Text()
    by = ChoiceText(BY_QUEUE, load_default=absent)


class EventsQuery(Query):
    """Filter of events."""

    queue = fields.Text()
    type = fields.Text()
    job = IdText(attribute="job_id", load_default=absent)
    batch = IdText(attribute="batch_id", load_default=absent)
    state = StatesText(attribute="states")
    progress = FlagText(attribute="with_progress")


class RatesResponse(Response):
    """Rates, a minute."""

    added = fields.Number(spec=_SECONDS)
    started = fields.Number(spec=_SECONDS)
    finished = fields.Number(spec=_SECONDS)


class TimesResponse(Response):
    """Percentiles of times, in seconds."""

    count = fields.Whole()
    p50 = fields.Number(allow_none=True)
    p90 = fields.Number(allow_none=True)
    p99 = fields.Number(allow_none=True)


class FiguresResponse(Response):
    """Activity of jobs."""

    added = fields.Whole()
    started = fields.Whole()
    succeeded = fields.Whole()
    failed = fields.Whole()
    killed = fields.Whole()
    attempts = fields.Object(spec=json_types.COUNTS)
    per_minute = fields.Inner(RatesResponse)
    wait = fields.Inner(TimesResponse)
    run = fields.Inner(TimesResponse)


class TypeFiguresResponse(FiguresResponse):
    """Activity of the jobs of a type; ``null`` stands for the types beyond the bound."""

    type = fields.Text(allow_none=True)


class QueueFiguresResponse(FiguresResponse):
    """Activity of the jobs of a queue."""

    queue = fields.Text(allow_none=True)
    types = fields.Items(fields.Inner(TypeFiguresResponse))


class WindowResponse(FiguresResponse):
    """Activity within a window of time."""

    from_ = fields.Moment(data_key="from")
    to = fields.Moment()
    seconds = fields.Number()
    queues = fields.Items(fields.Inner(QueueFiguresResponse))


class CountsResponse(Response):
    """Jobs by state."""

    total = fields.Object(spec=json_types.COUNTS)
    queues = fields.Object(spec={"additionalProperties": json_types.COUNTS})


class WindowsResponse(Response):
    """Activity by window."""

    sparse = frozenset({"five_minutes", "hour", "day", "week"})
    five_minutes = fields.Inner(WindowResponse, data_key="5m")
    hour = fields.Inner(WindowResponse, data_key="1h")
    day = fields.Inner(WindowResponse, data_key="24h")
    week = fields.Inner(WindowResponse, data_key="7d")


class StatsResponse(Response):
    """Statistics; ``counts`` are missing in those of one type."""

    sparse = frozenset({"counts"})
    at = fields.Moment()
    relative_error = fields.Number()
    windows = fields.Inner(WindowsResponse)
    counts = fields.Inner(CountsResponse)


class PointResponse(FiguresResponse):
    """Activity within one step."""

    at = fields.Moment(spec={"description": "its beginning"})


class QueuePointsResponse(Response):
    """Activity of a queue in equal steps of time."""

    queue = fields.Text()
    points = fields.Items(fields.Inner(PointResponse))


class SeriesResponse(Response):
    """Activity in equal steps of time; the last point may go on."""

    sparse = frozenset({"queues"})
    from_ = fields.Moment(data_key="from")
    to = fields.Moment()
    step = fields.Number(spec={"description": "seconds"})
    relative_error = fields.Number()
    points = fields.Items(fields.Inner(PointResponse))
    queues = fields.Items(
        fields.Inner(QueuePointsResponse),
        spec={"description": "with `by=queue`: the queues in which most has happened, by name"},
    )


class ConcernResponse(Response):
    """Something that needs somebody."""

    kind = fields.Text(spec={"enum": list(CONCERNS)})
    message = fields.Text()
    command = fields.Items(fields.Text(), spec={"description": "words after `jobqueue` of the command that mends it"})
    details = fields.Object(spec={"description": "names, ids and figures that the message is about"})


class ConcernsResponse(Response):
    """Concerns, the most urgent kinds first; at most twenty of each kind."""

    items = fields.Items(fields.Inner(ConcernResponse))


class AuditQueryString(Query):
    """Filter of the audit."""

    kind = ChoiceText("job", "batch", "queue", "schedule", "alert", "token", "operation", "worker", load_default=absent)
    name = fields.Text(load_default=absent)
    action = fields.Text(load_default=absent)
    actor = fields.Text(load_default=absent)
    after = fields.Moment(load_default=absent)
    before = fields.Moment(load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = IdText(load_default=absent)


class ChangeResponse(Response):
    """An entry of the audit."""

    id = fields.Text(spec=json_types.ID)
    at = fields.Moment()
    by = fields.Object()
    action = fields.Text()
    target = fields.Object()
    unconfirmed = fields.Flag()
    before = fields.Anything(allow_none=True, spec={})
    after = fields.Anything(allow_none=True, spec={})


ChangePage: Final = page("ChangePage", ChangeResponse)
