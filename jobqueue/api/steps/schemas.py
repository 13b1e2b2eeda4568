"""Requests about steps of running jobs, and their replies."""

from __future__ import annotations

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response
from jobqueue.api.work.schemas import TokenSchema


class StepSchema(TokenSchema):
    """A step has finished."""

    name = fields.Text(required=True, spec=json_types.STEP_NAME)
    result = fields.Anything(allow_none=True, spec={})


class SuspendSchema(TokenSchema):
    """The job is to wait, uncounted; either ``delay`` or ``until`` is required."""

    name = fields.Text(allow_none=True, spec=json_types.STEP_NAME)
    delay = fields.Number(allow_none=True, spec=json_types.bounds("delay"))
    until = fields.Moment(allow_none=True)


class RecordedResponse(Response):
    """The result of a step that the job keeps."""

    result = fields.Anything(allow_none=True, spec={})
    existed = fields.Flag(spec={"description": "the step had finished before, and its first result is kept"})
