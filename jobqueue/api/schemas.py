"""The shape and the types of what comes in. Which values are acceptable, the domain says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields

from jobqueue.domain import wire
from jobqueue.domain.errors import InvalidInputError, Problems

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)


_SCHEMA_MESSAGES: Final = {"unknown": "is not a known field", "type": "must be an object"}


class _Field(fields.Field[Any]):
    """Say what is wrong in our own words."""

    must = "must be something else"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        messages: dict[str, Any] = {"required": "is required", "null": "must not be null", "invalid": self.must}
        super().__init__(*arguments, error_messages=messages, **options)


class Text(_Field, fields.String):
    """Text."""

    must = "must be text"


class Whole(_Field, fields.Integer):
    """A whole number; 5.0 is none."""

    must = "must be a whole number"

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)


class Number(_Field, fields.Float):
    """A number, kept as the whole or broken one it is."""

    must = "must be a number"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return value


class Flag(_Field, fields.Boolean):
    """True or false."""

    must = "must be true or false"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Moment(_Field, fields.DateTime):
    """A date in ISO 8601; without an offset it is UTC."""

    must = "must be an ISO 8601 date such as 2030-01-31T12:00:00Z"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        try:
            return moment(value)
        except ValueError:
            raise self.make_error("invalid") from None


class Object(_Field, fields.Dict):
    """An object with anything in it."""

    must = "must be an object"


class Items(_Field, fields.List[Any]):
    """A list; a wrong item is named by its number."""

    must = "must be a list"


class Anything(_Field, fields.Raw):
    """Any JSON value; the domain says which."""


class Group(_Field, fields.Raw):
    """A job or a list of jobs; `new_jobs` reads them."""

    must = "must be a job or a list of jobs"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict | list):
            raise self.make_error("invalid")
        return value


class Line(_Field, fields.Raw):
    """A log line: text, or an object with ``m`` and perhaps ``level``; becomes a pair of text and level."""

    must = "must be text or an object with m and level"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, str | None]:
        if isinstance(value, str):
            return value, None
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        given: Mapping[str, Any] = LINE.load(value)
        return given["m"], given.get("level")


class Strict(Schema):
    """A schema whose fields have their JSON names and that refuses any other."""

    class Meta:
        """Options."""

        unknown = RAISE

    error_messages = _SCHEMA_MESSAGES

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Give a field its JSON name."""
        field_obj.data_key = wire.camel(field_obj.data_key or field_name)


class LineSchema(Strict):
    """A log line."""

    m = Text(required=True)
    level = Text(allow_none=True)


class ContentSchema(Strict):
    """What a person may change about a job and start it again."""

    data = Object()
    priority = Whole()
    attempts = Whole()
    backoff = Anything()


class NewJobSchema(ContentSchema):
    """A job to be added."""

    type = Text(required=True)
    queue = Text()
    meta = Object()
    delay = Number()
    delay_til = Moment(allow_none=True)
    lease = Number()
    timeout = Number(allow_none=True)
    key = Text(allow_none=True)
    depends_on = Items(Text())
    dependency_policy = Text(allow_none=True)
    on_success_delete = Flag()
    on_complete = Group(allow_none=True)
    on_success = Group(allow_none=True)
    on_failure = Group(allow_none=True)


class BatchSchema(Strict):
    """A batch to be created; its jobs are read one by one."""

    jobs = Items(Anything())
    meta = Object()
    sealed = Flag()
    on_complete = Group(allow_none=True)
    on_success = Group(allow_none=True)
    on_failure = Group(allow_none=True)


class BatchAddSchema(Strict):
    """Jobs to be added to a batch, perhaps by a running job of it."""

    jobs = Items(Anything(), required=True)
    token = Text()


class BulkSchema(Strict):
    """Many jobs to be added."""

    jobs = Items(Anything(), required=True)


class PatchSchema(ContentSchema):
    """What may be changed about a job that is not processing."""

    meta = Object()
    delay_til = Moment(allow_none=True)
    lease = Number()
    timeout = Number(allow_none=True)


class KillSchema(Strict):
    """Why a person ends a job."""

    reason = Text()


class ClaimSchema(Strict):
    """What a worker wants to run."""

    worker = Text(required=True)
    types = Items(Text(), allow_none=True)
    wait = Number()
    lease = Number(allow_none=True)


class TokenSchema(Strict):
    """What every report of a worker has."""

    token = Text(required=True)


class HeartbeatSchema(TokenSchema):
    """A worker still runs the job."""

    progress = Number(allow_none=True)
    logs = Items(Line())


class SucceedSchema(TokenSchema):
    """The job is done."""

    result = Anything(allow_none=True)


class DieSchema(TokenSchema):
    """The job can never succeed."""

    reason = Text(required=True)


class FailSchema(DieSchema):
    """This attempt did not succeed."""

    trace = Text(allow_none=True)


class RetrySchema(TokenSchema):
    """The job is to run again, uncounted."""

    reason = Text(allow_none=True)
    delay = Number(allow_none=True)


class ProcessorSchema(Strict):
    """What processes the jobs of a type."""

    kind = Text(required=True)
    url = Text()
    secret = Text(allow_none=True)
    previous_secrets = Items(Text())
    headers = Object()
    timeout = Number()
    name = Text()


class Processors(_Field, fields.Raw):
    """Processors by job type."""

    must = "must be an object"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        problems: dict[Any, Any] = {}
        for kind, given in value.items():
            try:
                PROCESSOR.load(given)
            except ValidationError as error:
                problems[kind] = error.messages
        if problems:
            raise ValidationError(problems)
        return value


class RateSchema(Strict):
    """So many starts in a window."""

    limit = Whole()
    per = Number()


class BreakerSchema(Strict):
    """When to hold back because too much fails."""

    failures = Whole()
    cooldown = Number()
    per = Text()


class RetentionSchema(Strict):
    """For how many seconds ended jobs are kept, by state."""

    success = Number(allow_none=True)
    failed = Number(allow_none=True)
    killed = Number(allow_none=True)


class Inner(_Field, fields.Nested):
    """An object with fields of its own; its JSON is kept as it is."""

    must = "must be an object"


class QueueSchema(Strict):
    """The configuration of a queue."""

    paused = Flag()
    concurrency = Whole(allow_none=True)
    rate = Inner(RateSchema, allow_none=True)
    limit_by = Text(allow_none=True)
    attempts = Whole()
    backoff = Anything()
    lease = Number()
    timeout = Number(allow_none=True)
    priority = Whole()
    on_success_delete = Flag()
    processors = Processors()
    retention = Inner(RetentionSchema, allow_none=True)
    breaker = Inner(BreakerSchema, allow_none=True)


class RotateSchema(Strict):
    """Which webhook gets a new secret."""

    type = Text(required=True)


LINE: Final = LineSchema()
PROCESSOR: Final = ProcessorSchema()


def moment(value: object) -> datetime:
    """Return a date from ISO 8601, in UTC.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("not a date")
    try:
        read = datetime.fromisoformat(value.upper())
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a date") from None


def load(schema: Schema, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema makes of JSON.

    Raises:
        InvalidInputError: naming each unknown, missing or ill-typed field.
    """
    values, problems = sift(schema, given)
    if problems:
        raise InvalidInputError(problems)
    return values


def sift(schema: Schema, given: Mapping[str, Any]) -> tuple[dict[str, Any], Problems]:
    """Return the well-typed fields of JSON, and what is wrong with the others."""
    try:
        values: dict[str, Any] = schema.load(given)
    except ValidationError as error:
        problems: Problems = {}
        _flatten(error.messages, "", problems)
        valid = error.valid_data
        return valid if isinstance(valid, dict) else {}, problems
    return values, {}


def _flatten(messages: Any, path: str, problems: Problems) -> None:
    """Turn marshmallow's nested messages, whose keys may be numbers, into messages by dotted path."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            below = path if name == "_schema" else f"{path}.{name}" if path else str(name)
            _flatten(inner, below, problems)
    else:
        problems.setdefault(path or "body", []).extend(str(one) for one in messages)
