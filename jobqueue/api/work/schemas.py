"""Requests of workers that poll, and their replies."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, instance, page
from jobqueue.api.schemas.queries import LONGEST_WAIT, MOST_QUEUES, LimitText, Query, TextCursor, absent
from jobqueue.api.schemas.responses import JobResponse
from jobqueue.domain.values.checks import LONGEST_VERSION

MOST_TYPES: Final = 100
MOST_LINES: Final = 1000
LONGEST_WORKER: Final = 200
LONGEST_LEVEL: Final = 50


class LineSchema(Strict):
    """A log line."""

    m = fields.Text(required=True)
    level = fields.Text(allow_none=True, spec={"minLength": 1, "maxLength": LONGEST_LEVEL})


class Line(fields.Anything):
    """A log line: text, or an object with ``m`` and perhaps ``level``; becomes a pair of text and level."""

    must = "must be text or an object with m and level"
    form: ClassVar[json_types.Form] = {"anyOf": [{"type": "string"}, json_types.named("Line")]}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, str | None]:
        if isinstance(value, str):
            return value, None
        if not isinstance(value, dict):
            raise self.make_error("invalid")
        line = instance(LineSchema).load(value)
        return line["m"], line.get("level")


class ClaimSchema(Strict):
    """A worker asks for a job."""

    worker = fields.Text(required=True, spec={"minLength": 1, "maxLength": LONGEST_WORKER})
    types = fields.Items(
        fields.Text(spec=json_types.TYPE), allow_none=True, spec={"minItems": 1, "maxItems": MOST_TYPES}
    )
    wait = fields.Number(spec={"minimum": 0, "maximum": LONGEST_WAIT})
    lease = fields.Number(allow_none=True, spec=json_types.bounds("lease"))
    version = fields.Text(
        allow_none=True,
        spec={
            "minLength": 1,
            "maxLength": LONGEST_VERSION,
            "description": "of the worker's program, for the history of the job",
        },
    )


class TokenSchema(Strict):
    """The token of the claim, which every report of a worker has; ``Authorization: Claim`` may have it instead."""

    token = fields.Text(spec={"description": "of the claim; left out only under `Authorization: Claim TOKEN`"})


class HeartbeatSchema(TokenSchema):
    """A worker still runs the job."""

    progress = fields.Number(allow_none=True, spec={"minimum": 0, "maximum": 100})
    logs = fields.Items(Line(), spec={"maxItems": MOST_LINES})


class SucceedSchema(TokenSchema):
    """The job is done."""

    result = fields.Anything(allow_none=True, spec={})


class DieSchema(TokenSchema):
    """The job can never succeed."""

    reason = fields.Text(required=True)


class FailSchema(DieSchema):
    """This attempt did not succeed."""

    trace = fields.Text(allow_none=True)


class RetrySchema(TokenSchema):
    """The job is to run again, uncounted."""

    reason = fields.Text(allow_none=True)
    delay = fields.Number(allow_none=True, spec=json_types.bounds("delay"))


class ClaimedJobResponse(JobResponse):
    """A job for its worker, with the results of finished steps by name."""

    sparse = (JobResponse.sparse - {"steps"}) | {"omitted_steps", "step_errors"}
    steps = fields.Object(  # type: ignore[assignment]  # a worker gets a map of results where others get a list
        spec={"description": "results by the name of the step"}
    )
    omitted_steps = fields.Items(
        fields.Text(), spec={"description": "finished steps for whose results there is no room in `steps`"}
    )
    step_errors = fields.Object(
        spec={"description": "errors by the name of the step, of steps without a result because a child has failed"}
    )


class ClaimedResponse(Response):
    """A claimed job, and the token for its reports."""

    job = fields.Inner(ClaimedJobResponse)
    token = fields.Text()


class BeatResponse(Response):
    """The end of the lease, or that a person killed the job."""

    reset_at = fields.Moment(allow_none=True)
    cancelled = fields.Flag()


class SettledResponse(Response):
    """The state of a job after a report."""

    id = fields.Text(spec=json_types.ID)
    state = fields.Text(spec=json_types.STATE)
    delay_til = fields.Moment(allow_none=True)


class WorkersQuery(Query):
    """A page of workers."""

    limit = LimitText(MOST_QUEUES)
    cursor = TextCursor()


class TypesQuery(WorkersQuery):
    """A page of types of jobs."""

    queue = fields.Text(load_default=absent)


class PostResponse(Response):
    """Jobs that a worker claims: of a queue, and of some types or, with `null`, of any but the excluded ones."""

    queue = fields.Text()
    types = fields.Items(fields.Text(), allow_none=True)
    excluded = fields.Items(fields.Text())


class RunningJobResponse(Response):
    """A job that a worker runs."""

    id = fields.Text(spec=json_types.ID)
    queue = fields.Text()
    type = fields.Text()
    start_at = fields.Moment(allow_none=True)
    progress = fields.Number()
    step = fields.Text(allow_none=True, spec={"description": "the step that was under way at the last heartbeat"})


class DrainResponse(Response):
    """A worker that somebody has asked to leave."""

    since = fields.Moment()
    by = fields.Text()


class WorkerResponse(Response):
    """A worker that gave a sign of life within the last day."""

    name = fields.Text()
    alive = fields.Flag(spec={"description": "its last sign is younger than 30 s"})
    host = fields.Text(allow_none=True, spec={"description": "of its process; `null` for a worker that polls"})
    pid = fields.Whole(allow_none=True)
    version = fields.Text(allow_none=True)
    since = fields.Moment(allow_none=True, spec={"description": "its first sign of life"})
    last_sign_at = fields.Moment()
    draining = fields.Inner(
        DrainResponse,
        allow_none=True,
        spec={"description": "it claims no more jobs, finishes what it runs, and leaves"},
    )
    queues = fields.Items(fields.Inner(PostResponse))
    running = fields.Items(
        fields.Inner(RunningJobResponse), spec={"description": "at most 1,000 of all workers of a page"}
    )


class TypeResponse(Response):
    """A type of jobs of a queue that living workers, or a processor of the queue, serve."""

    queue = fields.Text()
    type = fields.Text()
    workers = fields.Whole(spec={"description": "living workers"})
    processor = fields.Text(allow_none=True, spec={"enum": ["webhook", "command"]})
    schema = fields.Object(allow_none=True, spec={"description": "the JSON Schema of `data`, of the newest worker"})
    schemas = fields.Items(
        fields.Object(), spec={"description": "all schemas, the newest first: one is enough for `check`"}
    )


WorkerPage = page("WorkerPage", WorkerResponse)
TypePage = page("TypePage", TypeResponse)
