"""What goes out about jobs and the work on them."""

from __future__ import annotations

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Anything, Flag, Inner, Items, Moment, Number, Object, Response, Text, Whole


class LogLineResponse(Response):
    """A line that a job wrote."""

    sparse = frozenset({"level", "attempt"})
    t = Moment()
    m = Text()
    level = Text()
    attempt = Whole()


class ErrorResponse(Response):
    """Why an attempt did not succeed."""

    sparse = frozenset({"trace"})
    kind = Text()
    message = Text()
    trace = Text()


class ClaimResponse(Response):
    """Who runs a job."""

    token = Text(allow_none=True)
    worker = Text()


class AttemptResponse(Response):
    """An entry of a job's history: a start, or a requeue by a person."""

    sparse = frozenset({"late", "was", "operation"})
    attempt = Whole()
    token = Text(allow_none=True)
    worker = Text(allow_none=True)
    start_at = Moment(allow_none=True)
    end_at = Moment(allow_none=True)
    outcome = Text(allow_none=True)
    error = Inner(ErrorResponse, allow_none=True)
    code = Whole(allow_none=True)
    late = Object()
    was = Object()
    operation = Text(spec=json_types.ID)


class ParentResponse(Response):
    """A job that another one depended on, with its result."""

    sparse = frozenset({"type", "state", "ref", "result", "omitted", "url", "deleted"})
    id = Text(spec=json_types.ID)
    type = Text()
    state = Text(spec=json_types.STATE)
    ref = Text(allow_none=True)
    result = Anything(allow_none=True, spec={})
    omitted = Flag(spec={"description": "there was no room for the result: it is at `url`"})
    url = Text(spec={"description": "where the entry is to be had with its result, below the address of the server"})
    deleted = Flag(spec={"description": "the job was deleted, and its result with it"})


class JobResponse(Response):
    """A job."""

    sparse = frozenset({"dependency_policy", "ref", "callback_of", "parents", "schedule", "scheduled_at", "crashes"})
    id = Text(spec=json_types.ID)
    queue = Text()
    type = Text()
    data = Object()
    meta = Object()
    priority = Whole()
    attempts = Whole()
    attempts_made = Whole()
    backoff = Anything(spec=json_types.BACKOFF)
    delay = Number()
    lease = Number()
    timeout = Number(allow_none=True)
    insert_at = Moment()
    start_at = Moment(allow_none=True)
    end_at = Moment(allow_none=True)
    delay_til = Moment(allow_none=True)
    reset_at = Moment(allow_none=True)
    batch_id = Text(allow_none=True)
    parent_id = Text(allow_none=True)
    depends_on = Items(Text(spec=json_types.ID))
    progress = Number()
    logs = Items(Inner(LogLineResponse))
    result = Anything(allow_none=True, spec={})
    error = Inner(ErrorResponse, allow_none=True)
    history = Items(Inner(AttemptResponse))
    state = Text(spec=json_types.STATE)
    on_success_delete = Flag()
    on_complete = Anything(allow_none=True, spec=json_types.group())
    on_success = Anything(allow_none=True, spec=json_types.group())
    on_failure = Anything(allow_none=True, spec=json_types.group())
    key = Text(allow_none=True)
    claim = Inner(ClaimResponse, allow_none=True)
    dependency_policy = Text()
    ref = Text()
    callback_of = Object()
    parents = Items(Inner(ParentResponse))
    schedule = Text()
    scheduled_at = Moment()
    crashes = Whole()


class PartialJobResponse(JobResponse):
    """A job, or the fields of it that were asked for."""

    sparse = frozenset(set(JobResponse._declared_fields) - {"id"})  # noqa: SLF001 - marshmallow has no public name for it


class AddedJobResponse(JobResponse):
    """A job that was added with others; without its result, logs and history if a repeated request finds much there."""

    sparse = JobResponse.sparse | {"result", "logs", "history"}


class JobsResponse(Response):
    """Jobs that were added together."""

    items = Items(Inner(AddedJobResponse))


class JobPage(Response):
    """A page of jobs."""

    items = Items(Inner(PartialJobResponse))
    next = Text(allow_none=True)


class BriefResponse(Response):
    """A relative of a job."""

    id = Text(spec=json_types.ID)
    type = Text()
    queue = Text()
    state = Text(spec=json_types.STATE)
    progress = Number()
    insert_at = Moment()
    start_at = Moment(allow_none=True)
    end_at = Moment(allow_none=True)
    parent_id = Text(allow_none=True)
    error = Inner(ErrorResponse, allow_none=True)


class RelativeResponse(BriefResponse):
    """A job with its children."""

    children = Items(Anything(spec=json_types.named("Relative")))


class BatchBriefResponse(Response):
    """The batch of a job."""

    id = Text(spec=json_types.ID)
    counts = Object(spec=json_types.COUNTS)


class FamilyResponse(Response):
    """The relatives of a job."""

    ancestors = Items(Inner(BriefResponse))
    job = Inner(RelativeResponse)
    batch = Inner(BatchBriefResponse, allow_none=True)
    truncated = Flag()


class WhyResponse(Response):
    """Why a job is not running; each reason has a kind, a message and details."""

    id = Text(spec=json_types.ID)
    state = Text(spec=json_types.STATE)
    reasons = Items(Object(spec={"required": ["kind", "message"]}))
    next_start_at = Moment(allow_none=True)


class ClaimedResponse(Response):
    """A claimed job, and the token to report with."""

    job = Inner(JobResponse)
    token = Text()


class BeatResponse(Response):
    """Until when the lease lasts, and whether the job was killed."""

    reset_at = Moment(allow_none=True)
    cancelled = Flag()


class SettledResponse(Response):
    """What became of a job."""

    id = Text(spec=json_types.ID)
    state = Text(spec=json_types.STATE)
    delay_til = Moment(allow_none=True)
