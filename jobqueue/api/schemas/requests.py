"""Request bodies that several rooms share."""

from __future__ import annotations

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Strict


class ContentSchema(Strict):
    """Fields of a job that a requeue may change."""

    data = fields.Object(spec=json_types.CONTENT)
    priority = fields.Whole(spec=json_types.bounds("priority"))
    attempts = fields.Whole(spec=json_types.bounds("attempts"))
    backoff = fields.Anything(spec=json_types.BACKOFF)


class RequeueSchema(ContentSchema):
    """Fields of a requeue, and the first step that runs again; ``null`` for all steps."""

    from_step = fields.Text(allow_none=True, spec=json_types.STEP_NAME)


class NewJobSchema(ContentSchema):
    """A job to add."""

    type = fields.Text(required=True, spec=json_types.TYPE)
    queue = fields.Text(spec=json_types.QUEUE)
    meta = fields.Object(spec=json_types.META)
    delay = fields.Number(spec=json_types.bounds("delay"))
    delay_til = fields.Moment(allow_none=True)
    start_before = fields.MomentOrSeconds(allow_none=True, spec=json_types.START_BEFORE)
    lease = fields.Number(spec=json_types.bounds("lease"))
    timeout = fields.Number(allow_none=True, spec=json_types.bounds("timeout"))
    key = fields.Text(allow_none=True, spec=json_types.KEY)
    depends_on = fields.Items(fields.Text(spec=json_types.ID), spec=json_types.DEPENDENCIES)
    dependency_policy = fields.Text(allow_none=True, spec=json_types.POLICY)
    on_success_delete = fields.Flag()
    on_complete = fields.Group(allow_none=True, spec=json_types.group())
    on_success = fields.Group(allow_none=True, spec=json_types.group())
    on_failure = fields.Group(allow_none=True, spec=json_types.group())


class KillSchema(Strict):
    """The reason of a person who kills jobs."""

    reason = fields.Text()
