"""Requests about batches, and their replies."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import (
    Anything,
    Described,
    Flag,
    Group,
    Inner,
    Items,
    Moment,
    Number,
    Object,
    Response,
    Strict,
    Text,
    Whole,
    page,
)
from jobqueue.api.schemas.queries import NO_CURSOR, ChoiceText, LimitText, Query, absent, decoded, encoded
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.jobs.checks import is_id
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.domain.workflow.batch import BatchCursor

_PLACE: Final = re.compile(r"place:([0-9]{1,14}):([0-9]{1,9})", re.ASCII)


class PlaceCursor(Described):
    """The cursor of a listing of batches: the id of a batch, or a place between batches."""

    def __init__(self, **options: Any) -> None:
        super().__init__(spec={"type": "string"}, **options)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str | BatchCursor:
        if is_id(value):
            return str(value)
        place = _PLACE.fullmatch(decoded(value))
        if place is None:
            raise ValidationError(NO_CURSOR)
        return BatchCursor(millisecond=int(place[1]), passed=int(place[2]))


def place_cursor(place: BatchCursor) -> str:
    """Return the cursor of a listing of batches from a place on."""
    return encoded(f"place:{place.millisecond}:{place.passed}")


class BatchesQuery(Query):
    """Filter of batches."""

    state = ChoiceText("open", "finished", load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = PlaceCursor(load_default=absent)


class MemberSchema(NewJobSchema):
    """A job of a batch; it depends on refs of the batch or on ids of any jobs."""

    ref = Text(allow_none=True, spec=json_types.REF)
    depends_on = Items(Text(spec=json_types.REF), spec=json_types.DEPENDENCIES)
    blocks = Items(Text(), spec=json_types.DEPENDENCIES)


class BatchSchema(Strict):
    """A batch to create; its jobs are read one by one."""

    jobs = Items(Anything(spec=json_types.named("Member")), spec=json_types.MEMBERS)
    meta = Object(spec=json_types.META)
    sealed = Flag()
    on_complete = Group(allow_none=True, spec=json_types.group())
    on_success = Group(allow_none=True, spec=json_types.group())
    on_failure = Group(allow_none=True, spec=json_types.group())


class BatchAddSchema(Strict):
    """Jobs to add to a batch, perhaps by a running job of it."""

    jobs = Items(Anything(spec=json_types.named("Member")), required=True, spec=json_types.MEMBERS)
    token = Text()


class BatchRequeueSchema(Strict):
    """Options of a requeue of a batch."""

    callbacks = Flag()


class AddedResponse(Response):
    """A job that was added to a batch."""

    id = Text(spec=json_types.ID)
    ref = Text(allow_none=True)


class StandInResponse(Response):
    """A job that has the key of a callback, and for which that was not created."""

    event = Text(spec={"enum": ["complete", "success", "failure"]})
    index = Whole()
    generation = Whole()
    key = Text()
    job_id = Text(spec=json_types.ID)


class _Rounded(Number):
    """A number with one digit after the point."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return round(value, 1)


class BatchResponse(Response):
    """A batch, of a `BatchView`."""

    id = Text(attribute="batch.id", spec=json_types.ID)
    state = Text(attribute="batch.state", spec={"enum": ["open", "finished"]})
    sealed = Flag(attribute="batch.sealed")
    counts = Object(spec=json_types.COUNTS)
    total = Whole()
    progress = _Rounded()
    generation = Whole(attribute="batch.generation")
    verdict = Text(allow_none=True, spec={"enum": ["success", "failed", None]})
    meta = Object(attribute="batch.meta")
    insert_at = Moment(attribute="batch.insert_at")
    end_at = Moment(attribute="batch.end_at", allow_none=True)
    on_complete = Group(attribute="batch.on_complete", allow_none=True, spec=json_types.group())
    on_success = Group(attribute="batch.on_success", allow_none=True, spec=json_types.group())
    on_failure = Group(attribute="batch.on_failure", allow_none=True, spec=json_types.group())
    stand_ins = Items(Inner(StandInResponse), attribute="batch.stand_ins")


class NewBatchResponse(BatchResponse):
    """A batch that was created."""

    jobs = Items(Inner(AddedResponse))


class KilledBatchResponse(BatchResponse):
    """A batch, and how many of its jobs were killed."""

    killed = Whole()


BatchPage: Final = page("BatchPage", BatchResponse)


class AddedPage(Response):
    """The jobs that were added to a batch."""

    id = Text(spec=json_types.ID)
    jobs = Items(Inner(AddedResponse))
