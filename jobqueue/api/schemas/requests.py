"""Request bodies that several rooms share."""

from __future__ import annotations

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Anything, Flag, Group, Items, Moment, Number, Object, Strict, Text, Whole


class ContentSchema(Strict):
    """Fields of a job that a requeue may change."""

    data = Object(spec=json_types.CONTENT)
    priority = Whole(spec=json_types.bounds("priority"))
    attempts = Whole(spec=json_types.bounds("attempts"))
    backoff = Anything(spec=json_types.BACKOFF)


class NewJobSchema(ContentSchema):
    """A job to add."""

    type = Text(required=True, spec=json_types.TYPE)
    queue = Text(spec=json_types.QUEUE)
    meta = Object(spec=json_types.META)
    delay = Number(spec=json_types.bounds("delay"))
    delay_til = Moment(allow_none=True)
    lease = Number(spec=json_types.bounds("lease"))
    timeout = Number(allow_none=True, spec=json_types.bounds("timeout"))
    key = Text(allow_none=True, spec=json_types.KEY)
    depends_on = Items(Text(spec=json_types.ID), spec=json_types.DEPENDENCIES)
    dependency_policy = Text(allow_none=True, spec=json_types.POLICY)
    on_success_delete = Flag()
    on_complete = Group(allow_none=True, spec=json_types.group())
    on_success = Group(allow_none=True, spec=json_types.group())
    on_failure = Group(allow_none=True, spec=json_types.group())


class KillSchema(Strict):
    """The reason of a person who kills jobs."""

    reason = Text()
