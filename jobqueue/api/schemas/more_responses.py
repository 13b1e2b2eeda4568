"""What goes out about batches, queues, schedules and the service itself."""

from __future__ import annotations

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Anything, Flag, Inner, Items, Moment, Number, Object, Shown, Strict, Text, Whole
from jobqueue.api.schemas.requests import BreakerSchema, RateSchema, RetentionSchema


class AddedShown(Shown):
    """A job that was added to a batch."""

    id = Text(spec=json_types.ID)
    ref = Text(allow_none=True)


class StandInShown(Shown):
    """A job that has the key of a callback, and for which that was not created."""

    event = Text(spec={"enum": ["complete", "success", "failure"]})
    index = Whole()
    generation = Whole()
    key = Text()
    job_id = Text(spec=json_types.ID)


class BatchShown(Shown):
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
    stand_ins = Items(Inner(StandInShown))


class NewBatchShown(BatchShown):
    """A batch that was created."""

    jobs = Items(Inner(AddedShown))


class KilledBatchShown(BatchShown):
    """A batch, and how many of its jobs were killed."""

    killed = Whole()


class BatchPage(Shown):
    """A page of batches."""

    items = Items(Inner(BatchShown))
    next = Text(allow_none=True)


class AddedPage(Shown):
    """The jobs that were added to a batch."""

    id = Text(spec=json_types.ID)
    jobs = Items(Inner(AddedShown))


class QueueConfigShown(Shown):
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


class BreakerShown(Shown):
    """How a circuit breaker stands."""

    type = Text(allow_none=True)
    state = Text(spec={"enum": ["closed", "open", "half-open"]})
    failures = Whole()
    until = Moment(allow_none=True)


class QueueShown(QueueConfigShown):
    """A queue: how it is configured and how it is doing."""

    counts = Object(spec=json_types.COUNTS)
    oldest_pending_age = Number(allow_none=True)
    ended = Object(spec={"additionalProperties": json_types.COUNTS})
    breakers = Items(Inner(BreakerShown))


class QueuePage(Shown):
    """A page of queues."""

    items = Items(Inner(QueueShown))
    next = Text(allow_none=True)


class DeletedQueueShown(Shown):
    """A queue that was deleted, and how many jobs were killed for that."""

    name = Text()
    killed = Whole()


class ChangeShown(Shown):
    """Who changed something, when and how."""

    id = Text(spec=json_types.ID)
    at = Moment()
    by = Object()
    action = Text()
    target = Object()
    unconfirmed = Flag()
    before = Anything(allow_none=True, spec={})
    after = Anything(allow_none=True, spec={})


class ChangePage(Shown):
    """A page of changes."""

    items = Items(Inner(ChangeShown))
    next = Text(allow_none=True)


class RunShown(Shown):
    """A job that a schedule has made."""

    id = Text(spec=json_types.ID)
    at = Moment()
    state = Text(spec=json_types.STATE)


class SkippedShown(Shown):
    """A time for which a schedule has made no job."""

    at = Moment()
    reason = Text()


class ScheduleShown(Shown):
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
    last_runs = Items(Inner(RunShown))
    last_skipped = Inner(SkippedShown, allow_none=True)
    created_at = Moment()
    changed_at = Moment()


class SchedulePage(Shown):
    """A page of schedules."""

    items = Items(Inner(ScheduleShown))
    next = Text(allow_none=True)


class IndexShown(Shown):
    """What there is."""

    name = Text()
    routes = Items(Text())


class StatusShown(Shown):
    """How the process is doing."""

    status = Text()


class DocumentShown(Strict):
    """An OpenAPI document."""

    openapi = Text(required=True)
    info = Object(required=True)
    paths = Object(required=True)
    components = Object()
    tags = Items(Object())
    security = Items(Object())
    servers = Items(Object())


class ProblemShown(Strict):
    """A problem (RFC 9457); ``errors`` has messages by the path of a field."""

    type = Text(required=True)
    title = Text(required=True)
    status = Whole(required=True)
    detail = Text(required=True)
    errors = Object(spec={"additionalProperties": {"type": "array", "items": {"type": "string"}}})
    job_id = Text(allow_none=True)
