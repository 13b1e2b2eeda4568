"""Replies about jobs that several rooms share, and problems.

`json_form.job` writes jobs, also where this package is not imported: the schemas of jobs describe them.
`tests/unit/http/test_responses.py` compares both.
"""

from __future__ import annotations

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict
from jobqueue.domain.steps.step import StepKind


class LogLineResponse(Response):
    """A line that a job wrote."""

    sparse = frozenset({"level", "attempt"})
    t = fields.Moment()
    m = fields.Text()
    level = fields.Text()
    attempt = fields.Whole(allow_none=True)


class ErrorResponse(Response):
    """The reason of an attempt that did not succeed."""

    sparse = frozenset({"trace", "step"})
    kind = fields.Text()
    message = fields.Text()
    trace = fields.Text()
    step = fields.Text()


class ClaimResponse(Response):
    """The claim of the worker that runs a job."""

    sparse = frozenset({"step"})
    token = fields.Text(allow_none=True)
    worker = fields.Text()
    step = fields.Text(spec={"description": "the step that was under way at the last heartbeat"})


class AttemptResponse(Response):
    """An entry of a job's history: a start, or a requeue by a person."""

    sparse = frozenset({"version", "late", "was", "operation", "steps", "forgot"})
    attempt = fields.Whole()
    token = fields.Text(allow_none=True)
    worker = fields.Text(allow_none=True)
    version = fields.Text(spec={"description": "of the worker's program"})
    start_at = fields.Moment(allow_none=True)
    end_at = fields.Moment(allow_none=True)
    outcome = fields.Text(allow_none=True, spec=json_types.OUTCOME)
    error = fields.Inner(ErrorResponse, allow_none=True)
    code = fields.Whole(allow_none=True)
    late = fields.Object()
    was = fields.Object()
    operation = fields.Text(spec=json_types.ID)
    steps = fields.Items(fields.Text(), spec={"description": "names of the steps that finished in it"})
    forgot = fields.Items(fields.Text(), spec={"description": "names of the steps that run again after a requeue"})


class StepResponse(Response):
    """A step of a job. A step without ``endAt`` has not finished; lists of jobs leave the results out."""

    sparse = frozenset({"result", "stored", "until", "error", "job_ids"})
    name = fields.Text()
    kind = fields.Text(spec={"enum": [kind.value for kind in StepKind]})
    start_at = fields.Moment(allow_none=True)
    end_at = fields.Moment(allow_none=True)
    attempt = fields.Whole()
    tries = fields.Whole()
    result = fields.Anything(allow_none=True, spec={})
    stored = fields.Flag(spec={"description": "the result is kept elsewhere: `GET /v1/jobs/{id}/steps/{name}` has it"})
    until = fields.Moment(spec={"description": "the end of a sleep, or of the wait before the next try"})
    error = fields.Inner(ErrorResponse)
    size = fields.Whole(spec={"description": "bytes of the result"})
    job_ids = fields.Whole(spec={"description": "the number of awaited children"})


class WaitResponse(Response):
    """The reason why a suspended job waits."""

    sparse = frozenset({"until", "signals", "jobs", "doubt"})
    names = fields.Items(fields.Text(), spec={"description": "of the steps for which it waits"})
    until = fields.Moment(spec={"description": "absent if only something from outside ends the wait"})
    signals = fields.Items(fields.Text(), spec={"description": "the names of signals that end the wait"})
    jobs = fields.Whole(spec={"description": "awaited children that had not ended when the wait began"})
    doubt = fields.Text(spec={"description": "the step of which a person has to say whether it happened"})


class SignalResponse(Response):
    """A signal that a job has got."""

    sparse = frozenset({"value", "stored", "taken"})
    id = fields.Text(spec={"description": "of the request that has sent it"})
    name = fields.Text()
    value = fields.Anything(allow_none=True, spec={})
    at = fields.Moment(allow_none=True)
    by = fields.Text(spec={"description": "the name of the sender"})
    taken = fields.Text(spec={"description": "the step that has taken it; its result is the value"})
    stored = fields.Flag(spec={"description": "the value is kept elsewhere until a step takes it"})


class ParentResponse(Response):
    """A job that another job depended on, with its result."""

    sparse = frozenset({"type", "state", "ref", "result", "omitted", "url", "deleted"})
    id = fields.Text(spec=json_types.ID)
    type = fields.Text()
    state = fields.Text(spec=json_types.STATE)
    ref = fields.Text(allow_none=True)
    result = fields.Anything(allow_none=True, spec={})
    omitted = fields.Flag(spec={"description": "there was no room for the result: it is at `url`"})
    url = fields.Text(
        spec={"description": "where the entry is to be had with its result, below the address of the server"}
    )
    deleted = fields.Flag(spec={"description": "the job was deleted, and its result with it"})


class JobResponse(Response):
    """A job."""

    sparse = frozenset(
        {"dependency_policy", "ref", "callback_of", "parents", "schedule", "scheduled_at", "crashes", "steps", "wait"}
        | {"signals", "start_before", "erased", "traceparent", "tracestate"}
    )
    id = fields.Text(spec=json_types.ID)
    queue = fields.Text()
    type = fields.Text()
    data = fields.Object()
    meta = fields.Object()
    priority = fields.Whole()
    attempts = fields.Whole()
    attempts_made = fields.Whole()
    backoff = fields.Anything(spec=json_types.BACKOFF)
    delay = fields.Number()
    lease = fields.Number()
    timeout = fields.Number(allow_none=True)
    insert_at = fields.Moment()
    start_at = fields.Moment(allow_none=True)
    end_at = fields.Moment(allow_none=True)
    delay_til = fields.Moment(allow_none=True)
    reset_at = fields.Moment(allow_none=True)
    batch_id = fields.Text(allow_none=True)
    parent_id = fields.Text(allow_none=True)
    depends_on = fields.Items(fields.Text(spec=json_types.ID))
    progress = fields.Number()
    logs = fields.Items(fields.Inner(LogLineResponse))
    result = fields.Anything(allow_none=True, spec={})
    error = fields.Inner(ErrorResponse, allow_none=True)
    history = fields.Items(fields.Inner(AttemptResponse))
    state = fields.Text(spec=json_types.STATE)
    on_success_delete = fields.Flag()
    on_complete = fields.Anything(allow_none=True, spec=json_types.group())
    on_success = fields.Anything(allow_none=True, spec=json_types.group())
    on_failure = fields.Anything(allow_none=True, spec=json_types.group())
    key = fields.Text(allow_none=True)
    claim = fields.Inner(ClaimResponse, allow_none=True)
    dependency_policy = fields.Text()
    ref = fields.Text()
    callback_of = fields.Object()
    parents = fields.Items(fields.Inner(ParentResponse))
    schedule = fields.Text()
    scheduled_at = fields.Moment()
    traceparent = fields.Text()
    tracestate = fields.Text()
    crashes = fields.Whole()
    steps = fields.Items(fields.Inner(StepResponse))
    wait = fields.Inner(WaitResponse)
    signals = fields.Items(fields.Inner(SignalResponse))
    start_before = fields.Moment()
    erased = fields.Object(spec={"description": "when and by which operation its contents were erased, with numbers"})


class BriefResponse(Response):
    """A job without its large fields."""

    id = fields.Text(spec=json_types.ID)
    type = fields.Text()
    queue = fields.Text()
    state = fields.Text(spec=json_types.STATE)
    progress = fields.Number()
    insert_at = fields.Moment()
    start_at = fields.Moment(allow_none=True)
    end_at = fields.Moment(allow_none=True)
    parent_id = fields.Text(allow_none=True)
    error = fields.Inner(ErrorResponse, allow_none=True)


class ProblemResponse(Strict):
    """A problem (RFC 9457); ``errors`` has messages by the path of a field."""

    type = fields.Text(required=True)
    title = fields.Text(required=True)
    status = fields.Whole(required=True)
    detail = fields.Text(required=True)
    errors = fields.Object(spec={"additionalProperties": {"type": "array", "items": {"type": "string"}}})
    job_id = fields.Text(allow_none=True, spec={"description": "the job that the problem is about"})
    state = fields.Text(allow_none=True, spec={"description": "of this job"})
    queue = fields.Text(allow_none=True, spec={"description": "in which a job has the key"})
    key = fields.Text(allow_none=True)
    kind = fields.Text(allow_none=True, spec={"description": "of the thing that does not exist"})
    name = fields.Text(allow_none=True, spec={"description": "of the thing that does not exist"})
