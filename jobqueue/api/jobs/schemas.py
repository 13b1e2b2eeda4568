"""Requests about jobs and their logs, and their replies."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, partial
from jobqueue.api.schemas.queries import (
    LONGEST_WAIT,
    ChoiceText,
    FlagText,
    LimitText,
    Query,
    SecondsText,
    Several,
    ShortIdText,
    StatesText,
    absent,
    decoded,
    encoded,
    whole,
)
from jobqueue.api.schemas.requests import ContentSchema
from jobqueue.api.schemas.responses import BriefResponse, JobResponse, LogLineResponse
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.csv_rows import MOST_EXPORTED
from jobqueue.domain.search.fields import SORTS
from jobqueue.domain.search.pipelines import MOST_STAGES
from jobqueue.domain.search.projection import MOST_SHOWN, SHOWN, Projection
from jobqueue.domain.search.query import AWAITED, MOST_LISTED
from jobqueue.domain.search.search import MOST_COUNTED, MOST_FOUND
from jobqueue.domain.search.suggestions import FIELDS, LONGEST_PREFIX, MOST_SUGGESTED
from jobqueue.domain.search.text import LONGEST_TEXT
from jobqueue.domain.work.logs import LONGEST_LEVEL, MOST_LINES
from jobqueue.domain.work.logs import LONGEST_TEXT as LONGEST_FOUND
from jobqueue.services.jobs.producer import MOST_AT_ONCE

_ORDERS: Final = tuple(f"{sign}{name}" for name in sorted(SORTS) for sign in ("-", ""))
USUALLY_COUNTED: Final = 1000
_LINE: Final = re.compile(r"line:([0-9]{1,9})", re.ASCII)
EXPORT_TYPES: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv"}
"""Media types of files by their format."""


class SortText(fields.Described):
    """The field of an order; with a minus before it the highest come first."""

    def __init__(self, **options: Any) -> None:
        spec = {"type": "string", "enum": list(_ORDERS), "default": "-insertAt"}
        super().__init__(load_default=lambda: ("insertAt", True), spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, bool]:
        if value not in _ORDERS:
            raise ValidationError(f"must be one of {', '.join(sorted(SORTS))}, with - before it for the highest first")
        return value.lstrip("-"), value.startswith("-")


class FieldsText(Several):
    """Names of fields of a job, dotted ones too, with commas between them."""

    def __init__(self, **options: Any) -> None:
        name = rf"({'|'.join(sorted(SHOWN))})(\.[^,]+)?"
        super().__init__(load_default=list, spec={"type": "string", "pattern": f"^{name}(,{name})*$"}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        names: list[str] = value.split(",")
        try:
            Projection.read(names)
        except InvalidInputError as error:
            raise ValidationError(error.problems["fields"]) from None
        return names


class JobsQuery(Query):
    """Filter of jobs, order and fields."""

    prefix = "meta."
    id = ShortIdText(load_default=absent)
    queue = fields.Text(spec=json_types.QUEUE)
    type = fields.Text()
    state = StatesText(attribute="states")
    batch_id = fields.Text(spec=json_types.ID)
    parent_id = fields.Text(spec=json_types.ID)
    schedule = fields.Text()
    inserted_after = fields.Moment()
    inserted_before = fields.Moment()
    q = fields.Text(attribute="text", spec={"minLength": 1, "maxLength": LONGEST_TEXT})
    waiting = ChoiceText(*AWAITED)
    fingerprint = fields.Text(spec=json_types.FINGERPRINT)
    slow = FlagText()
    sort = SortText()
    limit = LimitText(MOST_LISTED)
    cursor = fields.Text(load_default=absent)
    fields_ = FieldsText(data_key="fields")


class SuggestionsQuery(Query):
    """A field and the beginning of its values."""

    field = fields.Text(
        load_default=absent,
        spec={"description": f"{', '.join(FIELDS)} or `meta.<path>`; the names of fields if it is missing"},
    )
    prefix_ = fields.Text(data_key="prefix", attribute="prefix", load_default=str, spec={"maxLength": LONGEST_PREFIX})
    limit = LimitText(MOST_SUGGESTED, 20)


class SuggestionResponse(Response):
    """A name of a field or a value, and how many jobs of the sample have it."""

    value = fields.Anything(allow_none=True, spec={"type": ["string", "number", "boolean", "null"]})
    count = fields.Whole()


class SuggestionsResponse(Response):
    """Suggestions, the most frequent first."""

    items = fields.Items(fields.Inner(SuggestionResponse))
    sampled = fields.Whole(spec={"description": "the number of jobs that were looked at"})


class WaitQuery(Query):
    """Seconds to wait for a change."""

    wait = SecondsText(LONGEST_WAIT)


class LineCursor(fields.Described):
    """The cursor of a log."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=int, spec=json_types.CURSOR, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        line = _LINE.fullmatch(decoded(value))
        if line is None:
            raise ValidationError("is not a cursor of this log")
        return int(line[1])


def line_cursor(number: int) -> str:
    """Return the cursor of a log from the line with a number on."""
    return encoded(f"line:{number}")


class LevelsText(Several):
    """One or more levels of log lines, with commas between them."""

    def __init__(self, **options: Any) -> None:
        spec = {"type": "string", "pattern": f"^[^,]{{1,{LONGEST_LEVEL}}}(,[^,]{{1,{LONGEST_LEVEL}}})*$"}
        super().__init__(load_default=tuple, spec=spec, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value.split(",")))


class NumberText(fields.Described):
    """A whole number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec={"type": "integer", "minimum": 0, "maximum": 999_999_999}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        return whole(value)


class LogsQuery(Query):
    """Part of a log."""

    limit = LimitText(MOST_LINES, MOST_LINES)
    cursor = LineCursor(attribute="after")
    line = NumberText()
    before = NumberText()
    q = fields.Text(attribute="text", spec={"minLength": 1, "maxLength": LONGEST_FOUND})
    level = LevelsText(attribute="levels")
    attempt = NumberText()
    wait = SecondsText(LONGEST_WAIT)
    format = ChoiceText("json", "text", load_default=absent)


class NumberedLineResponse(LogLineResponse):
    """A line of a log with its number, counted from 1."""

    number = fields.Whole()


class LogPage(Response):
    """A page of log lines.

    ``resume`` is the cursor after the last line; ``ended`` is true if no more lines follow. ``count`` is the number of
    lines so far, ``earlier`` the value of ``before`` for the lines before these.
    """

    items = fields.Items(fields.Inner(NumberedLineResponse))
    next = fields.Text(allow_none=True)
    resume = fields.Text()
    ended = fields.Flag()
    count = fields.Whole()
    earlier = fields.Whole(allow_none=True)


class BulkSchema(Strict):
    """Many jobs to add."""

    jobs = fields.Items(
        fields.Anything(spec=json_types.named("NewJob")), required=True, spec={"minItems": 1, "maxItems": MOST_AT_ONCE}
    )


class PatchSchema(ContentSchema):
    """Fields of a job that may change while it is not processing."""

    meta = fields.Object(spec=json_types.META)
    delay_til = fields.Moment(allow_none=True)
    start_before = fields.Moment(allow_none=True)
    lease = fields.Number(spec=json_types.bounds("lease"))
    timeout = fields.Number(allow_none=True, spec=json_types.bounds("timeout"))


class SearchSchema(Strict):
    """A search; the domain checks filter, order and fields."""

    filter = fields.Object()
    q = fields.Text(spec={"minLength": 1, "maxLength": LONGEST_TEXT})
    sort = fields.Object(allow_none=True, spec={"maxProperties": 1})
    fields_ = fields.Items(fields.Text(), data_key="fields", spec={"maxItems": MOST_SHOWN})
    limit = fields.Whole(spec={"minimum": 1, "maximum": MOST_FOUND, "default": 50})
    cursor = fields.Text(allow_none=True, spec=json_types.CURSOR)
    slow = fields.Flag()


class ExportSchema(Strict):
    """A search whose jobs are written as a file; the domain checks filter, order and fields."""

    format_ = fields.Text(data_key="format", spec={"enum": list(EXPORT_TYPES), "default": "jsonl"})
    filter = fields.Object()
    q = fields.Text(spec={"minLength": 1, "maxLength": LONGEST_TEXT})
    sort = fields.Object(allow_none=True, spec={"maxProperties": 1})
    fields_ = fields.Items(
        fields.Text(), data_key="fields", spec={"maxItems": MOST_SHOWN, "description": "of jobs; the columns of CSV"}
    )
    limit = fields.Whole(spec={"minimum": 1, "maximum": MOST_EXPORTED, "default": MOST_EXPORTED})
    slow = fields.Flag()


class CountSchema(Strict):
    """A filter whose jobs are counted, as in a search."""

    filter = fields.Object()
    q = fields.Text(spec={"minLength": 1, "maxLength": LONGEST_TEXT})
    most = fields.Whole(spec={"minimum": 1, "maximum": MOST_COUNTED, "default": USUALLY_COUNTED})
    slow = fields.Flag()


class CountResponse(Response):
    """The number of jobs of a filter, and the numbers by state unless ``truncated``: then there are more."""

    count = fields.Whole(spec={"minimum": 0, "maximum": MOST_COUNTED})
    states = fields.Object(allow_none=True, spec=json_types.COUNTS)
    truncated = fields.Flag()


class AggregateSchema(Strict):
    """A pipeline over jobs; the domain checks its stages."""

    pipeline = fields.Items(fields.Object(), required=True, spec={"minItems": 1, "maxItems": MOST_STAGES})
    slow = fields.Flag()


class RowsResponse(Response):
    """The rows of a pipeline; ``truncated`` if there are more."""

    items = fields.Items(fields.Object())
    truncated = fields.Flag()


PartialJobResponse: Final = partial(JobResponse, needed=frozenset({"id"}))
"""A job, or the fields of it that were asked for, also fields of its objects: all but the id may be missing."""


class JobPage(Response):
    """A page of jobs, with the cursors of the next page and, where there is one, of the page before."""

    sparse = frozenset({"previous"})
    items = fields.Items(fields.Inner(PartialJobResponse))
    next = fields.Text(allow_none=True)
    previous = fields.Text()


class AddedJobResponse(JobResponse):
    """A job that was added with others; without its result, logs and history if a repeated request finds much there."""

    sparse = JobResponse.sparse | {"result", "logs", "history"}


class JobsResponse(Response):
    """Jobs that were added together."""

    items = fields.Items(
        fields.Inner(AddedJobResponse),
        spec={
            "description": "where a repeated request finds much in them, without their `result`, `logs` and `history`"
        },
    )


class RelativeResponse(BriefResponse):
    """A job with its children."""

    children = fields.Items(fields.Anything(spec=json_types.named("Relative")))


class BatchBriefResponse(Response):
    """The batch of a job."""

    id = fields.Text(spec=json_types.ID)
    counts = fields.Object(spec=json_types.COUNTS)


class FamilyResponse(Response):
    """The relatives of a job."""

    ancestors = fields.Items(fields.Inner(BriefResponse))
    job = fields.Inner(RelativeResponse)
    batch = fields.Inner(BatchBriefResponse, allow_none=True)
    truncated = fields.Flag()


class ReasonForm(fields.Object):
    """A reason: its kind, its message and its details."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return {"kind": value.kind, "message": value.message, **value.details}


class WhyResponse(Response):
    """Reasons why a job does not run, of a `Why`."""

    id = fields.Text(attribute="job.id", spec=json_types.ID)
    state = fields.Text(attribute="job.state", spec=json_types.STATE)
    reasons = fields.Items(ReasonForm(spec=json_types.REASON))
    next_start_at = fields.Moment(allow_none=True)
