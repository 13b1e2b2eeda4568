"""Requests about steps of running jobs, and their replies."""

from __future__ import annotations

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict
from jobqueue.api.work.schemas import TokenSchema


class StepSchema(TokenSchema):
    """A step has finished; or with ``once`` it is about to begin, and with ``notDone`` it has not happened."""

    name = fields.Text(required=True, spec=json_types.STEP_NAME)
    result = fields.Anything(allow_none=True, spec={})
    once = fields.Flag(spec={"description": "mark the step before it runs, so that it never runs twice"})
    not_done = fields.Flag(spec={"description": "take back the mark: nothing has happened"})


class DecisionSchema(Strict):
    """A person knows whether a step in doubt has happened."""

    happened = fields.Flag(required=True)
    result = fields.Anything(allow_none=True, spec={"description": "of a step that has happened"})


class SuspendSchema(TokenSchema):
    """The job is to wait, uncounted; one of ``delay``, ``until``, ``signal`` and ``doubt`` is required."""

    name = fields.Text(allow_none=True, spec=json_types.STEP_NAME)
    delay = fields.Number(allow_none=True, spec=json_types.bounds("delay"))
    until = fields.Moment(allow_none=True)
    signal = fields.Text(allow_none=True, spec=json_types.STEP_NAME)
    timeout = fields.Number(
        allow_none=True, spec=json_types.bounds("delay") | {"description": "seconds of the wait for a signal"}
    )
    doubt = fields.Text(
        allow_none=True, spec=json_types.STEP_NAME | {"description": "a step: wait until a person says if it happened"}
    )


class SignalSchema(Strict):
    """A signal to a job."""

    value = fields.Anything(allow_none=True, spec={})
    id = fields.Text(spec={"minLength": 1, "maxLength": 255, "description": "the same id again is the same signal"})


class ChoiceSchema(Strict):
    """The form of an answer."""

    choice = fields.Text(required=True, spec={"description": "one of the answers that the link offers"})


class SentSignalResponse(Response):
    """A signal that a job has."""

    job_id = fields.Text(spec=json_types.ID)
    id = fields.Text()
    name = fields.Text()
    existed = fields.Flag(spec={"description": "an earlier request of the same id has sent it"})


class RecordedResponse(Response):
    """The result of a step that the job keeps."""

    sparse = frozenset({"doubt"})
    result = fields.Anything(allow_none=True, spec={})
    existed = fields.Flag(spec={"description": "the step had finished before, and its first result is kept"})
    doubt = fields.Flag(spec={"description": "the step has begun under another claim: it must not run"})
