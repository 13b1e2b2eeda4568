"""Requests about steps of running jobs, and their replies."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict
from jobqueue.api.schemas.queries import NO_CURSOR, LimitText, Query, decoded, encoded
from jobqueue.api.work.schemas import TokenSchema
from jobqueue.domain.steps.call import FAILURES, MOST_CALLED

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
    """The job is to wait, uncounted: for ``delay``, ``until`` a date, for a ``signal``, or for a person in ``doubt``.

    Without any of these it waits for its awaited children.
    """

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
    question = fields.Text(
        spec=json_types.STEP_NAME | {"description": "the step that this answers: 409 if it has an answer already"}
    )


class ChoiceSchema(Strict):
    """The form of an answer."""

    choice = fields.Text(required=True, spec={"description": "one of the answers that the link offers"})


class SentSignalResponse(Response):
    """A signal that a job has."""

    job_id = fields.Text(spec=json_types.ID)
    id = fields.Text()
    name = fields.Text()
    existed = fields.Flag(spec={"description": "an earlier request of the same id has sent it"})


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

    sparse = frozenset({"doubt"})
    result = fields.Anything(allow_none=True, spec={})
    existed = fields.Flag(spec={"description": "the step had finished before, and its first result is kept"})
    doubt = fields.Flag(spec={"description": "the step has begun under another claim: it must not run"})
