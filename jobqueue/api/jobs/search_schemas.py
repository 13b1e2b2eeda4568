"""Searches of jobs: what comes in, and what goes out besides jobs."""

from __future__ import annotations

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Flag, Items, Object, Response, Strict, Text, Whole
from jobqueue.domain.search.pipelines import MOST_STAGES
from jobqueue.domain.search.projection import MOST_SHOWN
from jobqueue.domain.search.search import MOST_FOUND


class SearchSchema(Strict):
    """Which jobs to find; what the filter, the order and the fields may be, the domain says."""

    filter = Object()
    sort = Object(allow_none=True, spec={"maxProperties": 1})
    fields_ = Items(Text(), data_key="fields", spec={"maxItems": MOST_SHOWN})
    limit = Whole(spec={"minimum": 1, "maximum": MOST_FOUND, "default": 50})
    cursor = Text(allow_none=True, spec=json_types.CURSOR)
    slow = Flag()


class AggregateSchema(Strict):
    """What to make of the jobs; what the stages may be, the domain says."""

    pipeline = Items(Object(), required=True, spec={"minItems": 1, "maxItems": MOST_STAGES})
    slow = Flag()


class RowsResponse(Response):
    """What a pipeline has made; ``truncated`` if there is more."""

    items = Items(Object())
    truncated = Flag()
