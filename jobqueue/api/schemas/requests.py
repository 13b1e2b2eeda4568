"""What comes in: the bodies of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

from marshmallow import ValidationError, fields

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import (
    Anything,
    Described,
    Flag,
    Group,
    Inner,
    Items,
    Moment,
    Number,
    Object,
    Strict,
    Text,
    Whole,
)
from jobqueue.domain.schedules.cron import LONGEST_EVERY, SHORTEST_EVERY
from jobqueue.domain.schedules.schedule import Missed
from jobqueue.domain.work.processing import LONGEST_TIMEOUT, MOST_PREVIOUS
from jobqueue.services.jobs.producer import MOST_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_WAIT: Final = 60
"""Seconds that a request may wait for something to happen."""
MOST_TYPES: Final = 100
MOST_LINES: Final = 1000
LONGEST_WORKER: Final = 200
LONGEST_LEVEL: Final = 50


class Line(Described, fields.Raw):
    """A log line: text, or an object with ``m`` and perhaps ``level``; becomes a pair of text and level."""

    must = "must be text or an object with m and level"
    form: ClassVar[json_types.Form] = {"anyOf": [{"type": "string"}, json_types.named("Line")]}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, str | None]:
        if isinstance(value, str):
            return value, None
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        given: Mapping[str, Any] = LINE.load(value)
        return given["m"], given.get("level")


class LineSchema(Strict):
    """A log line."""

    m = Text(required=True)
    level = Text(allow_none=True, spec={"minLength": 1, "maxLength": LONGEST_LEVEL})


class ContentSchema(Strict):
    """What a person may change about a job and start it again."""

    data = Object(spec=json_types.CONTENT)
    priority = Whole(spec=json_types.bounds("priority"))
    attempts = Whole(spec=json_types.bounds("attempts"))
    backoff = Anything(spec=json_types.BACKOFF)


class NewJobSchema(ContentSchema):
    """A job to be added."""

    type = Text(required=True, spec=json_types.TYPE)
    queue = Text(spec=json_types.QUEUE)
    meta = Object(spec=json_types.META)
    delay = Number(spec=json_types.bounds("delay"))
    delay_til = Moment(allow_none=True)
    lease = Number(spec=json_types.bounds("lease"))
    timeout = Number(allow_none=True, spec=json_types.bounds("timeout"))
    key = Text(allow_none=True, spec=json_types.KEY)
    depends_on = Items(Text(spec=json_types.ID), spec=json_types.DEPENDENCIES)
    dependency_policy = Text(allow_none=True, spec=json_types.POLICY)
    on_success_delete = Flag()
    on_complete = Group(allow_none=True, spec=json_types.group())
    on_success = Group(allow_none=True, spec=json_types.group())
    on_failure = Group(allow_none=True, spec=json_types.group())


class MemberSchema(NewJobSchema):
    """A job to be added to a batch; what it depends on may be refs of the batch or ids of any jobs."""

    ref = Text(allow_none=True, spec=json_types.REF)
    depends_on = Items(Text(spec=json_types.REF), spec=json_types.DEPENDENCIES)
    blocks = Items(Text(), spec=json_types.DEPENDENCIES)


class BatchSchema(Strict):
    """A batch to be created; its jobs are read one by one."""

    jobs = Items(Anything(spec=json_types.named("Member")), spec=json_types.MEMBERS)
    meta = Object(spec=json_types.META)
    sealed = Flag()
    on_complete = Group(allow_none=True, spec=json_types.group())
    on_success = Group(allow_none=True, spec=json_types.group())
    on_failure = Group(allow_none=True, spec=json_types.group())


class BatchAddSchema(Strict):
    """Jobs to be added to a batch, perhaps by a running job of it."""

    jobs = Items(Anything(spec=json_types.named("Member")), required=True, spec=json_types.MEMBERS)
    token = Text()


class BulkSchema(Strict):
    """Many jobs to be added."""

    jobs = Items(
        Anything(spec=json_types.named("NewJob")), required=True, spec={"minItems": 1, "maxItems": MOST_AT_ONCE}
    )


class PatchSchema(ContentSchema):
    """What may be changed about a job that is not processing."""

    meta = Object(spec=json_types.META)
    delay_til = Moment(allow_none=True)
    lease = Number(spec=json_types.bounds("lease"))
    timeout = Number(allow_none=True, spec=json_types.bounds("timeout"))


class KillSchema(Strict):
    """Why a person ends a job."""

    reason = Text()


class BatchRequeueSchema(Strict):
    """How the failed jobs of a batch are restarted."""

    callbacks = Flag()


class ClaimSchema(Strict):
    """What a worker wants to run."""

    worker = Text(required=True, spec={"minLength": 1, "maxLength": LONGEST_WORKER})
    types = Items(Text(spec=json_types.TYPE), allow_none=True, spec={"minItems": 1, "maxItems": MOST_TYPES})
    wait = Number(spec={"minimum": 0, "maximum": LONGEST_WAIT})
    lease = Number(allow_none=True, spec=json_types.bounds("lease"))


class TokenSchema(Strict):
    """What every report of a worker has."""

    token = Text(required=True)


class HeartbeatSchema(TokenSchema):
    """A worker still runs the job."""

    progress = Number(allow_none=True, spec={"minimum": 0, "maximum": 100})
    logs = Items(Line(), spec={"maxItems": MOST_LINES})


class SucceedSchema(TokenSchema):
    """The job is done."""

    result = Anything(allow_none=True, spec={})


class DieSchema(TokenSchema):
    """The job can never succeed."""

    reason = Text(required=True)


class FailSchema(DieSchema):
    """This attempt did not succeed."""

    trace = Text(allow_none=True)


class RetrySchema(TokenSchema):
    """The job is to run again, uncounted."""

    reason = Text(allow_none=True)
    delay = Number(allow_none=True, spec=json_types.bounds("delay"))


class ProcessorSchema(Strict):
    """What processes the jobs of a type."""

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

    limit = Whole(required=True, spec=json_types.RATE_LIMIT)
    per = Number(required=True, spec=json_types.RATE_WINDOW)


class BreakerSchema(Strict):
    """When to hold back because too much fails."""

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
    """What is to be changed about a rate."""

    limit = Whole(allow_none=True, spec=json_types.RATE_LIMIT)
    per = Number(allow_none=True, spec=json_types.RATE_WINDOW)


class QueuePatchSchema(QueueSchema):
    """What is to be changed about a queue (JSON Merge Patch); ``null`` gives the default."""

    rate = Inner(RatePatchSchema, allow_none=True)

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Let anything be ``null``."""
        super().on_bind_field(field_name, field_obj)
        field_obj.allow_none = True


class ScheduleSchema(Strict):
    """Which job is to be made when; `domain.schedule` reads it."""

    cron = Text(allow_none=True)
    timezone = Text()
    every = Number(allow_none=True, spec={"minimum": SHORTEST_EVERY, "maximum": LONGEST_EVERY})
    job = Inner(NewJobSchema, required=True)
    missed = Text(spec={"enum": list(get_args(Missed))})
    paused = Flag()


class RotateSchema(Strict):
    """Which webhook gets a new secret."""

    type = Text(required=True, spec=json_types.TYPE)


LINE: Final = LineSchema()
PROCESSOR: Final = ProcessorSchema()
