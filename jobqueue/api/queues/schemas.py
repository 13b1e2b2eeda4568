"""Requests about queues, and their replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from marshmallow import ValidationError

from jobqueue.api.jobs.schemas import ReasonForm
from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, instance, page
from jobqueue.api.schemas.queries import MOST_QUEUES, FlagText, IdText, LimitText, Query, absent
from jobqueue.domain.queues.queue import LONGEST_REASON
from jobqueue.domain.work.processing import LONGEST_TIMEOUT, MOST_PREVIOUS
from jobqueue.services.limits.group_use import MOST_GROUPS

if TYPE_CHECKING:
    from marshmallow.fields import Field


_REASON: Final[json_types.Form] = {"minLength": 1, "maxLength": LONGEST_REASON}


class DeleteQueueQuery(Query):
    """Options of the deletion of a queue."""

    force = FlagText()


class ChangeQueueQuery(Query):
    """Options of a change of a queue."""

    dry_run = FlagText(
        data_key="dryRun",
        spec={"description": "`true` changes nothing, and answers with what the configuration would be"},
    )


class ChangesQuery(Query):
    """A page of changes of a queue."""

    limit = LimitText(MOST_QUEUES)
    cursor = IdText(load_default=absent)


class ProcessorSchema(Strict):
    """The processor of the jobs of a type."""

    kind = fields.Text(required=True, spec={"enum": ["webhook", "command"]})
    url = fields.Text(spec={"format": "uri"})
    secret = fields.Text(allow_none=True)
    previous_secrets = fields.Items(fields.Text(), spec={"maxItems": MOST_PREVIOUS})
    headers = fields.Object(spec={"additionalProperties": {"type": "string"}})
    timeout = fields.Number(spec={"exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT})
    name = fields.Text()


class Processors(fields.Anything):
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

    limit = fields.Whole(required=True, spec=json_types.RATE_LIMIT)
    per = fields.Number(required=True, spec=json_types.RATE_WINDOW)


class BreakerSchema(Strict):
    """A circuit breaker: the failures that open it, and the pause before the trial."""

    failures = fields.Whole(spec=json_types.FAILURES)
    cooldown = fields.Number(spec=json_types.COOLDOWN)
    per = fields.Text(spec={"enum": ["queue", "type"]})


class RetentionSchema(Strict):
    """For how many seconds ended jobs are kept, by state."""

    success = fields.Number(allow_none=True, spec=json_types.RETENTION)
    failed = fields.Number(allow_none=True, spec=json_types.RETENTION)
    killed = fields.Number(allow_none=True, spec=json_types.RETENTION)


class QueueSchema(Strict):
    """The configuration of a queue."""

    paused = fields.Flag()
    concurrency = fields.Whole(allow_none=True, spec=json_types.CONCURRENCY)
    rate = fields.Inner(RateSchema, allow_none=True)
    limit_by = fields.Text(allow_none=True)
    attempts = fields.Whole(spec=json_types.bounds("attempts"))
    backoff = fields.Anything(spec=json_types.BACKOFF)
    lease = fields.Number(spec=json_types.bounds("lease"))
    timeout = fields.Number(allow_none=True, spec=json_types.bounds("timeout"))
    start_before = fields.Number(allow_none=True, spec=json_types.EXPIRY)
    priority = fields.Whole(spec=json_types.bounds("priority"))
    on_success_delete = fields.Flag()
    processors = Processors()
    retention = fields.Inner(RetentionSchema, allow_none=True)
    breaker = fields.Inner(BreakerSchema, allow_none=True)
    max_retries = fields.Whole(spec=json_types.RETRIES)
    check = fields.Flag(spec={"description": "refuse new jobs whose data fits no schema of a living worker"})
    pause_reason = fields.Text(allow_none=True, spec=_REASON)


class RatePatchSchema(RateSchema):
    """A change of a rate."""

    limit = fields.Whole(allow_none=True, spec=json_types.RATE_LIMIT)
    per = fields.Number(allow_none=True, spec=json_types.RATE_WINDOW)


class QueuePatchSchema(QueueSchema):
    """A change of a queue (JSON Merge Patch); ``null`` gives the default."""

    rate = fields.Inner(RatePatchSchema, allow_none=True)

    def on_bind_field(self, field_name: str, field_obj: Field[Any]) -> None:
        """Allow ``null`` everywhere."""
        super().on_bind_field(field_name, field_obj)
        field_obj.allow_none = True


class PauseSchema(Strict):
    """The reason of a pause, for people."""

    reason = fields.Text(allow_none=True, spec=_REASON)


class RotateSchema(Strict):
    """The webhook that gets a new secret."""

    type = fields.Text(required=True, spec=json_types.TYPE)


class TestWebhookSchema(Strict):
    """The webhook that gets a ping."""

    type = fields.Text(required=True, spec=json_types.TYPE)


class PingErrorResponse(Response):
    """The reason why a job would have failed, of a `JobError`."""

    kind = fields.Text()
    message = fields.Text()


class WebhookTestResponse(Response):
    """A test of a webhook, of a `WebhookTest`."""

    type = fields.Text()
    id = fields.Text(spec={"description": "the `webhook-id`"})
    at = fields.Moment()
    ok = fields.Flag(spec={"description": "the status is one from 200 to 299, and the reply is whole"})
    status = fields.Whole(allow_none=True, spec={"description": "null without a reply"})
    seconds = fields.Number()
    excerpt = fields.Text(spec={"description": "the first 2 KiB of the reply, secrets masked"})
    error = fields.Inner(PingErrorResponse, allow_none=True)


class QueueConfigResponse(Response):
    """The configuration of a queue, its secrets masked but for one made just now."""

    name = fields.Text()
    paused = fields.Flag()
    concurrency = fields.Whole(allow_none=True)
    rate = fields.Inner(RateSchema, allow_none=True)
    limit_by = fields.Text(allow_none=True)
    attempts = fields.Whole()
    backoff = fields.Anything(spec=json_types.BACKOFF)
    lease = fields.Number()
    timeout = fields.Number(allow_none=True)
    start_before = fields.Number(allow_none=True, spec=json_types.EXPIRY)
    priority = fields.Whole()
    on_success_delete = fields.Flag()
    processors = fields.Object(spec={"additionalProperties": json_types.named("Processor")})
    retention = fields.Inner(RetentionSchema, allow_none=True)
    breaker = fields.Inner(BreakerSchema, allow_none=True)
    max_retries = fields.Whole()
    check = fields.Flag()
    pause_reason = fields.Text(allow_none=True, spec={"description": "while it is paused, if a person has given one"})


class BreakerResponse(Response):
    """The state of a circuit breaker."""

    type = fields.Text(allow_none=True)
    state = fields.Text(spec={"enum": ["closed", "open", "half-open"]})
    failures = fields.Whole()
    until = fields.Moment(allow_none=True)


class QueueResponse(QueueConfigResponse):
    """The configuration of a queue with its figures."""

    counts = fields.Object(spec=json_types.COUNTS)
    oldest_pending_age = fields.Number(allow_none=True)
    ended = fields.Object(spec={"additionalProperties": json_types.COUNTS})
    breakers = fields.Items(fields.Inner(BreakerResponse))


QueuePage: Final = page("QueuePage", QueueResponse)


class QueueWhyResponse(Response):
    """Reasons why no job of a queue starts, of a `QueueWhy`."""

    queue = fields.Text()
    reasons = fields.Items(
        ReasonForm(spec=json_types.REASON),
        spec={"description": "each with the `types` that it concerns, and the id of a `job`"},
    )
    next_start_at = fields.Moment(allow_none=True)


class GroupsQuery(Query):
    """The number of values to show."""

    limit = LimitText(MOST_GROUPS)


class GroupUseResponse(Response):
    """The use of the limits of a queue by the jobs of one value, of a `GroupUse`."""

    value = fields.Anything(
        allow_none=True, spec={"description": "at the path of `limitBy`; `sha256:…` for a very long one"}
    )
    running = fields.Whole()
    waiting = fields.Whole()
    starts = fields.Whole(allow_none=True, spec={"description": "within the window of the rate"})
    next_start_at = fields.Moment(allow_none=True, spec={"description": "until then the rate holds back the others"})


class QueueUseResponse(Response):
    """The use of the limits of a queue, of a `QueueUse`."""

    queue = fields.Text()
    limit_by = fields.Text(allow_none=True)
    values = fields.Whole(spec={"description": "that use the limits or wait for them"})
    is_exact = fields.Flag(spec={"description": "false if only the jobs that come first are counted"})
    items = fields.Items(fields.Inner(GroupUseResponse))
    next = fields.Text(allow_none=True)


class DeletedQueueResponse(Response):
    """A queue that was deleted, and how many jobs were killed for that."""

    name = fields.Text()
    killed = fields.Whole()
