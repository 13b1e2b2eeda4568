"""Requests about steps of running jobs, and their replies."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response
from jobqueue.api.schemas.queries import NO_CURSOR, LimitText, Query, decoded, encoded
from jobqueue.api.work.schemas import TokenSchema
from jobqueue.domain.jobs.call import FAILURES, MOST_CALLED

MOST_RESULTS: Final = 500
"""Results of one reply."""
_PLACE: Final = re.compile(r"result:([0-9]{1,4})", re.ASCII)


class PlaceText(fields.Described):
    """The cursor of results: the number of those before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(load_default=int, spec=json_types.CURSOR, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        place = _PLACE.fullmatch(decoded(value))
        if place is None:
            raise ValidationError(NO_CURSOR)
        return int(place[1])


def place_cursor(place: int) -> str:
    """Return the cursor of results after so many."""
    return encoded(f"result:{place}")


class StepSchema(TokenSchema):
    """A step has finished."""

    name = fields.Text(required=True, spec=json_types.STEP_NAME)
    result = fields.Anything(allow_none=True, spec={})


class SuspendSchema(TokenSchema):
    """The job is to wait, uncounted: for ``delay``, or ``until`` a date, or without both for its awaited children."""

    name = fields.Text(allow_none=True, spec=json_types.STEP_NAME)
    delay = fields.Number(allow_none=True, spec=json_types.bounds("delay"))
    until = fields.Moment(allow_none=True)


class CallSchema(TokenSchema):
    """Children to create and to await under one name: a job, whose result is the result of the step, or a list."""

    name = fields.Text(required=True, spec=json_types.STEP_NAME)
    jobs = fields.Group(required=True, spec=json_types.group(most=MOST_CALLED))
    failures = fields.Text(spec={"enum": list(FAILURES), "default": FAILURES[0]})


class ResultsQuery(Query):
    """A part of the results of children."""

    limit = LimitText(MOST_RESULTS, MOST_RESULTS)
    cursor = PlaceText()


class CalledResponse(Response):
    """A step with children."""

    name = fields.Text()
    job_ids = fields.Whole(spec={"description": "the number of children"})
    unfinished = fields.Whole(spec={"description": "children that the job has to wait for"})
    finished = fields.Flag(spec={"description": "the step has its result: there is nothing to wait for"})


class ResultsResponse(Response):
    """Results of children in their order; a failed child leaves an object with the member ``childFailed``."""

    items = fields.Items(fields.Anything(allow_none=True, spec={}))
    next = fields.Text(allow_none=True, spec=json_types.CURSOR)


class RecordedResponse(Response):
    """The result of a step that the job keeps."""

    result = fields.Anything(allow_none=True, spec={})
    existed = fields.Flag(spec={"description": "the step had finished before, and its first result is kept"})
