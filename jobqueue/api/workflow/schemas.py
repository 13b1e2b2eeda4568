"""Requests about batches, and their replies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, page, partial
from jobqueue.api.schemas.queries import (
    NO_CURSOR,
    ChoicesText,
    ChoiceText,
    FlagText,
    LimitText,
    Query,
    ShortIdText,
    absent,
    decoded,
    encoded,
)
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.domain.values.checks import is_id
from jobqueue.domain.workflow.batch import BatchCursor
from jobqueue.domain.workflow.graph import NODE_DATES, NODE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Collection

    from jobqueue.domain.workflow.graph import Node

_PLACE: Final = re.compile(r"place:([0-9]{1,14}):([0-9]{1,9})", re.ASCII)


class PlaceCursor(fields.Described):
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

    prefix = "meta."
    id = ShortIdText(load_default=absent)
    state = ChoiceText("open", "finished", load_default=absent)
    type = fields.Text(load_default=absent, spec={"description": "a job of the batch has this type"})
    failed = FlagText(bare=False, spec={"description": "a job of the batch has failed or was killed"})
    limit = LimitText(MOST_LISTED)
    cursor = PlaceCursor(load_default=absent)


class MemberSchema(NewJobSchema):
    """A job of a batch; it depends on refs of the batch or on ids of any jobs."""

    ref = fields.Text(allow_none=True, spec=json_types.REF)
    depends_on = fields.Items(fields.Text(spec=json_types.REF), spec=json_types.DEPENDENCIES)
    blocks = fields.Items(fields.Text(), spec=json_types.DEPENDENCIES)


class BatchSchema(Strict):
    """A batch to create; its jobs are read one by one."""

    jobs = fields.Items(fields.Anything(spec=json_types.named("Member")), spec=json_types.MEMBERS)
    meta = fields.Object(spec=json_types.META)
    sealed = fields.Flag()
    on_complete = fields.Group(allow_none=True, spec=json_types.group())
    on_success = fields.Group(allow_none=True, spec=json_types.group())
    on_failure = fields.Group(allow_none=True, spec=json_types.group())


class BatchAddSchema(Strict):
    """Jobs to add to a batch, perhaps by a running job of it."""

    jobs = fields.Items(fields.Anything(spec=json_types.named("Member")), required=True, spec=json_types.MEMBERS)
    token = fields.Text()


class BatchRequeueSchema(Strict):
    """Options of a requeue of a batch."""

    callbacks = fields.Flag()


class AddedResponse(Response):
    """A job that was added to a batch."""

    id = fields.Text(spec=json_types.ID)
    ref = fields.Text(allow_none=True)


class StandInResponse(Response):
    """A job that has the key of a callback, and for which that was not created."""

    event = fields.Text(spec={"enum": ["complete", "success", "failure"]})
    index = fields.Whole()
    generation = fields.Whole()
    key = fields.Text()
    job_id = fields.Text(spec=json_types.ID)


class _Rounded(fields.Number):
    """A number with one digit after the point."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return round(value, 1)


class BatchResponse(Response):
    """A batch, of a `BatchView`."""

    id = fields.Text(attribute="batch.id", spec=json_types.ID)
    state = fields.Text(attribute="batch.state", spec={"enum": ["open", "finished"]})
    sealed = fields.Flag(attribute="batch.sealed")
    counts = fields.Object(spec=json_types.COUNTS)
    total = fields.Whole()
    progress = _Rounded()
    generation = fields.Whole(attribute="batch.generation")
    verdict = fields.Text(allow_none=True, spec={"enum": ["success", "failed"]})
    meta = fields.Object(attribute="batch.meta")
    insert_at = fields.Moment(attribute="batch.insert_at")
    end_at = fields.Moment(attribute="batch.end_at", allow_none=True)
    on_complete = fields.Group(attribute="batch.on_complete", allow_none=True, spec=json_types.group())
    on_success = fields.Group(attribute="batch.on_success", allow_none=True, spec=json_types.group())
    on_failure = fields.Group(attribute="batch.on_failure", allow_none=True, spec=json_types.group())
    stand_ins = fields.Items(fields.Inner(StandInResponse), attribute="batch.stand_ins")


class GraphQuery(Query):
    """Fields of the jobs of a graph; the id comes with any."""

    fields_ = ChoicesText(NODE_FIELDS, lambda: NODE_FIELDS, data_key="fields", attribute="fields")


class NodeResponse(Response):
    """A job of a graph, without its data.

    `node_forms` writes it: a schema takes a third of a second for the 10,000 jobs of a large graph.
    """

    id = fields.Text(spec=json_types.ID)
    ref = fields.Text(allow_none=True)
    type = fields.Text()
    queue = fields.Text()
    state = fields.Text(spec=json_types.STATE)
    depends_on = fields.Items(fields.Text(spec=json_types.ID))
    attempts_made = fields.Whole()
    start_at = fields.Moment(allow_none=True)
    end_at = fields.Moment(allow_none=True)


PartialNodeResponse: Final = partial(NodeResponse, needed=frozenset({"id"}))
"""A job of a graph with the fields that were asked for."""


def node_forms(nodes: list[Node], fields: Collection[str]) -> list[dict[str, Any]]:
    """Return jobs of a graph as JSON, in place."""
    for name in NODE_DATES.intersection(fields):
        for node in nodes:
            node[name] = None if node[name] is None else json_form.date(node[name])
    return nodes


class GraphResponse(Response):
    """The jobs of a batch and the jobs that each depends on."""

    id = fields.Text(spec=json_types.ID)
    jobs = fields.Items(
        fields.Inner(PartialNodeResponse), spec={"description": "at most 10,000, in the order of their ids"}
    )
    truncated = fields.Flag(spec={"description": "the batch has further jobs"})


class NewBatchResponse(BatchResponse):
    """A batch that was created."""

    jobs = fields.Items(fields.Inner(AddedResponse))


class KilledBatchResponse(BatchResponse):
    """A batch, and how many of its jobs were killed."""

    killed = fields.Whole()


BatchPage: Final = page("BatchPage", BatchResponse)


class AddedPage(Response):
    """The jobs that were added to a batch."""

    id = fields.Text(spec=json_types.ID)
    jobs = fields.Items(fields.Inner(AddedResponse))
