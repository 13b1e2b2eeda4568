"""Replies about jobs that several rooms share, and problems.

`json_form.job` writes jobs, also where this package is not imported: the schemas of jobs describe them.
`tests/unit/http/test_responses.py` compares both.
"""

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


class LogLineResponse(Response):
    """A line that a job wrote."""

    sparse = frozenset({"level", "attempt"})
    t = Moment()
    m = Text()
    level = Text()
    attempt = Whole()


class ErrorResponse(Response):
    """The reason of an attempt that did not succeed."""

    sparse = frozenset({"trace"})
    kind = Text()
    message = Text()
    trace = Text()


class ClaimResponse(Response):
    """The claim of the worker that runs a job."""

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
    """A job that another job depended on, with its result."""

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


class BriefResponse(Response):
    """A job without its large fields."""

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


class ProblemResponse(Strict):
    """A problem (RFC 9457); ``errors`` has messages by the path of a field."""

    type = Text(required=True)
    title = Text(required=True)
    status = Whole(required=True)
    detail = Text(required=True)
    errors = Object(spec={"additionalProperties": {"type": "array", "items": {"type": "string"}}})
    job_id = Text(allow_none=True)
