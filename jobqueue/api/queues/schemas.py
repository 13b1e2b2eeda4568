"""Requests about queues, and their replies."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from marshmallow import ValidationError, fields

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import (
    Anything,
    Described,
    Flag,
    Inner,
    Items,
    Moment,
    Number,
    Object,
    Response,
    Strict,
    Text,
    Whole,
    instance,
    page,
)
from jobqueue.api.schemas.queries import MOST_QUEUES, FlagText, IdText, LimitText, Query, absent
from jobqueue.domain.work.processing import LONGEST_TIMEOUT, MOST_PREVIOUS


class DeleteQueueQuery(Query):
    """Options of the deletion of a queue."""

    force = FlagText()


class ChangesQuery(Query):
    """A page of changes of a queue."""

    limit = LimitText(MOST_QUEUES)
    cursor = IdText(load_default=absent)


class ProcessorSchema(Strict):
    """The processor of the jobs of a type."""

    kind = Text(required=True, spec={"enum": ["webhook", "command"]})
    url = Text(spec={"format": "uri"})
    secret = Text(allow_none=True)
    previous_secrets = Items(Text(), spec={"maxItems": MOST_PREVIOUS})
    headers = Object(spec={"additionalProperties": {"type": "string"}})
    timeout = Number(spec={"exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT})
    name = Text()


class Processors(Described, fields.Raw):
    """Processors by job type."""

    form: ClassVar[json_types.Form] = {"type": "object", "additionalProperties": json_types.named("Processor")}
    must = "must be an object"

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        problems: dict[Any, Any] = {}
        for job_type, processor in value.items():
            try:
                instance(ProcessorSchema).load(processor)
            except ValidationError as error:
                problems[job_type] = error.messages
        if problems:
            raise ValidationError(problems)
        return value


class RateSchema(Strict):
    """So many starts in a window."""

    limit = Whole(required=True, spec=json_types.RATE_LIMIT)
    per = Number(required=True, spec=json_types.RATE_WINDOW)


class BreakerSchema(Strict):
    """A circuit breaker: the failures that open it, and the pause before the trial."""

    failures = Whole(spec=json_types.FAILURES)
    cooldown = Number(spec=json_types.COOLDOWN)
    per = Text(spec={"enum": ["queue", "type"]})


class RetentionSchema(Strict):
    """For how many seconds ended jobs are kept, by state."""

    success = Number(allow_none=True, spec=json_types.RETENTION)
    failed = Number(allow_none=True, spec=json_types.RETENTION)
    killed = Number(allow_none=True, spec=json_types.RETENTION)


class QueueSchema(Strict):
    """The configuration of a queue."""

    paused = Flag()
    concurrency = Whole(allow_none=True, spec=json_types.CONCURRENCY)
    rate = Inner(RateSchema, allow_none=True)
    limit_by = Text(allow_none=True)
    attempts = Whole(spec=json_types.bounds("attempts"))
    backoff = Anything(spec=json_types.BACKOFF)
    lease = Number(spec=json_types.bounds("lease"))
    timeout = Number(allow_none=True, spec=json_types.bounds("timeout"))
    priority = Whole(spec=json_types.bounds("priority"))
    on_success_delete = Flag()
    processors = Processors()
    retention = Inner(RetentionSchema, allow_none=True)
    breaker = Inner(BreakerSchema, allow_none=True)
    max_retries = Whole(spec=json_types.RETRIES)


class RatePatchSchema(RateSchema):
    """A change of a rate."""

    limit = Whole(allow_none=True, spec=json_types.RATE_LIMIT)
    per = Number(allow_none=True, spec=json_types.RATE_WINDOW)


class QueuePatchSchema(QueueSchema):
    """A change of a queue (JSON Merge Patch); ``null`` gives the default."""

    rate = Inner(RatePatchSchema, allow_none=True)

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Allow ``null`` everywhere."""
        super().on_bind_field(field_name, field_obj)
        field_obj.allow_none = True


class RotateSchema(Strict):
    """The webhook that gets a new secret."""

    type = Text(required=True, spec=json_types.TYPE)


class QueueConfigResponse(Response):
    """The configuration of a queue, its secrets masked but for one made just now."""

    name = Text()
    paused = Flag()
    concurrency = Whole(allow_none=True)
    rate = Inner(RateSchema, allow_none=True)
    limit_by = Text(allow_none=True)
    attempts = Whole()
    backoff = Anything(spec=json_types.BACKOFF)
    lease = Number()
    timeout = Number(allow_none=True)
    priority = Whole()
    on_success_delete = Flag()
    processors = Object(spec={"additionalProperties": json_types.named("Processor")})
    retention = Inner(RetentionSchema, allow_none=True)
    breaker = Inner(BreakerSchema, allow_none=True)
    max_retries = Whole()


class BreakerResponse(Response):
    """The state of a circuit breaker."""

    type = Text(allow_none=True)
    state = Text(spec={"enum": ["closed", "open", "half-open"]})
    failures = Whole()
    until = Moment(allow_none=True)


class QueueResponse(QueueConfigResponse):
    """The configuration of a queue with its figures."""

    counts = Object(spec=json_types.COUNTS)
    oldest_pending_age = Number(allow_none=True)
    ended = Object(spec={"additionalProperties": json_types.COUNTS})
    breakers = Items(Inner(BreakerResponse))


QueuePage: Final = page("QueuePage", QueueResponse)


class DeletedQueueResponse(Response):
    """A queue that was deleted, and how many jobs were killed for that."""

    name = Text()
    killed = Whole()
