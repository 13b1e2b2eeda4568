"""What goes out about batches, queues, schedules and the service itself."""

from __future__ import annotations

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
    Strict,
    Text,
    Whole,
)
from jobqueue.api.schemas.requests import BreakerSchema, RateSchema, RetentionSchema


class AddedResponse(Response):
    """A job that was added to a batch."""

    id = Text(spec=json_types.ID)
    ref = Text(allow_none=True)


class StandInResponse(Response):
    """A job that has the key of a callback, and for which that was not created."""

    event = Text(spec={"enum": ["complete", "success", "failure"]})
    index = Whole()
    generation = Whole()
    key = Text()
    job_id = Text(spec=json_types.ID)


class BatchResponse(Response):
    """A batch."""

    id = Text(spec=json_types.ID)
    state = Text(spec={"enum": ["open", "finished"]})
    sealed = Flag()
    counts = Object(spec=json_types.COUNTS)
    total = Whole()
    progress = Number()
    generation = Whole()
    verdict = Text(allow_none=True, spec={"enum": ["success", "failed", None]})
    meta = Object()
    insert_at = Moment()
    end_at = Moment(allow_none=True)
    on_complete = Anything(allow_none=True, spec=json_types.group())
    on_success = Anything(allow_none=True, spec=json_types.group())
    on_failure = Anything(allow_none=True, spec=json_types.group())
    stand_ins = Items(Inner(StandInResponse))


class NewBatchResponse(BatchResponse):
    """A batch that was created."""

    jobs = Items(Inner(AddedResponse))


class KilledBatchResponse(BatchResponse):
    """A batch, and how many of its jobs were killed."""

    killed = Whole()


class BatchPage(Response):
    """A page of batches."""

    items = Items(Inner(BatchResponse))
    next = Text(allow_none=True)


class AddedPage(Response):
    """The jobs that were added to a batch."""

    id = Text(spec=json_types.ID)
    jobs = Items(Inner(AddedResponse))


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
    """How a circuit breaker stands."""

    type = Text(allow_none=True)
    state = Text(spec={"enum": ["closed", "open", "half-open"]})
    failures = Whole()
    until = Moment(allow_none=True)


class QueueResponse(QueueConfigResponse):
    """A queue: how it is configured and how it is doing."""

    counts = Object(spec=json_types.COUNTS)
    oldest_pending_age = Number(allow_none=True)
    ended = Object(spec={"additionalProperties": json_types.COUNTS})
    breakers = Items(Inner(BreakerResponse))


class QueuePage(Response):
    """A page of queues."""

    items = Items(Inner(QueueResponse))
    next = Text(allow_none=True)


class DeletedQueueResponse(Response):
    """A queue that was deleted, and how many jobs were killed for that."""

    name = Text()
    killed = Whole()


class ChangeResponse(Response):
    """Who changed something, when and how."""

    id = Text(spec=json_types.ID)
    at = Moment()
    by = Object()
    action = Text()
    target = Object()
    unconfirmed = Flag()
    before = Anything(allow_none=True, spec={})
    after = Anything(allow_none=True, spec={})


class ChangePage(Response):
    """A page of changes."""

    items = Items(Inner(ChangeResponse))
    next = Text(allow_none=True)


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


class SchedulePage(Response):
    """A page of schedules."""

    items = Items(Inner(ScheduleResponse))
    next = Text(allow_none=True)


class IndexResponse(Response):
    """What there is."""

    name = Text()
    routes = Items(Text())


class StatusResponse(Response):
    """How the process is doing."""

    status = Text()


class DocumentResponse(Strict):
    """An OpenAPI document."""

    openapi = Text(required=True)
    info = Object(required=True)
    paths = Object(required=True)
    components = Object()
    tags = Items(Object())
    security = Items(Object())
    servers = Items(Object())


class ProblemResponse(Strict):
    """A problem (RFC 9457); ``errors`` has messages by the path of a field."""

    type = Text(required=True)
    title = Text(required=True)
    status = Whole(required=True)
    detail = Text(required=True)
    errors = Object(spec={"additionalProperties": {"type": "array", "items": {"type": "string"}}})
    job_id = Text(allow_none=True)
