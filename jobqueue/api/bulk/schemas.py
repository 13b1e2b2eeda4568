"""Requests about operations and failures, and their replies."""

from __future__ import annotations

from typing import Final

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Flag, Inner, Items, Moment, Object, Response, Strict, Text, Whole, page
from jobqueue.api.schemas.queries import ChoiceText, IdText, LimitText, Query, StatesText, absent
from jobqueue.api.schemas.requests import ContentSchema
from jobqueue.api.schemas.responses import BriefResponse, JobResponse
from jobqueue.domain.bulk.operation import LONGEST_REASON, Action, Stage
from jobqueue.domain.jobs.fingerprint import LENGTH
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, FAILURES, MOST_GROUPS

FINGERPRINT: Final[json_types.Form] = {"type": "string", "pattern": f"^[0-9a-f]{{{LENGTH}}}$"}
_REASON: Final[json_types.Form] = {"minLength": 1, "maxLength": LONGEST_REASON}
_STAGE: Final[json_types.Form] = {"type": "string", "enum": [stage.value for stage in Stage]}


class FailuresQuery(Query):
    """Filter of failures, and the order of their groups."""

    queue = Text()
    type = Text()
    state = StatesText(FAILURES, lambda: FAILURES, attribute="states")
    inserted_after = Moment()
    inserted_before = Moment()
    ended_after = Moment()
    sort = ChoiceText(BY_COUNT, BY_LAST, load_default=BY_COUNT)
    limit = LimitText(MOST_GROUPS)
    cursor = Text(load_default=absent)


class SampleResponse(Response):
    """The job of a group that was added last."""

    id = Text(spec=json_types.ID)
    queue = Text()
    state = Text(spec=json_types.STATE)
    end_at = Moment(allow_none=True)
    message = Text(attribute="error.message", allow_none=True)
    trace = Text(attribute="trace_head", allow_none=True)


class FailureResponse(Response):
    """Jobs of one type that ended in the same way, of a `FailureGroup`."""

    fingerprint = Text(spec=FINGERPRINT)
    type = Text(attribute="sample.type")
    kind = Text(attribute="sample.error.kind", allow_none=True)
    message = Text()
    place = Text(allow_none=True, spec={"description": "file and function of your own code, where a trace tells"})
    count = Whole()
    states = Object(spec=json_types.COUNTS)
    first_at = Moment(allow_none=True)
    last_at = Moment(allow_none=True)
    queues = Items(Text())
    sample = Inner(SampleResponse)


FailurePage: Final = page("FailurePage", FailureResponse)


class FailureRequeueSchema(ContentSchema):
    """A requeue of a group of failures."""

    trial = Flag()
    queue = Text()
    dry_run = Flag()


class ManySchema(Strict):
    """A filter of jobs."""

    filter = Object()
    all = Flag()
    dry_run = Flag()


class ManyRequeueSchema(ContentSchema, ManySchema):
    """A requeue of jobs, and the fields that it changes."""


class ManyKillSchema(ManySchema):
    """A kill of jobs, and its reason."""

    reason = Text(spec=_REASON)


class PreviewResponse(Response):
    """The number of jobs that a filter finds, and the first few of them."""

    action = Text(spec={"enum": [action.value for action in Action]})
    matched = Whole(allow_none=True)
    is_exact = Flag()
    samples = Items(Inner(BriefResponse))


class TrialResponse(PreviewResponse):
    """The job of a trial, or a preview."""

    sparse = frozenset({"job", "action", "matched", "is_exact", "samples"})
    job = Inner(JobResponse)


class RefusedResponse(Response):
    """A job that could not be changed."""

    id = Text(spec=json_types.ID)
    reason = Text()


class OperationResponse(Response):
    """An operation and its progress."""

    id = Text(spec=json_types.ID)
    action = Text(attribute="new.action", spec={"enum": [action.value for action in Action]})
    filter = Object(attribute="new.filter")
    fingerprint = Text(attribute="new.fingerprint", allow_none=True)
    changes = Object(attribute="new.changes")
    reason = Text(attribute="new.reason", allow_none=True)
    by = Object()
    insert_at = Moment()
    end_at = Moment(allow_none=True)
    state = Text(attribute="stage", spec=_STAGE)
    matched = Whole(allow_none=True)
    is_exact = Flag()
    done = Whole()
    skipped = Whole()
    failed = Whole()
    failures = Items(Inner(RefusedResponse))
    error = Text(allow_none=True)


OperationPage: Final = page("OperationPage", OperationResponse)


class OperationsQuery(Query):
    """Filter of operations."""

    state = ChoiceText(*Stage, load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = IdText(load_default=absent)
