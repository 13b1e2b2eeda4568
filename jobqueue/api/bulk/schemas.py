"""What comes in and goes out about logs, failures and what is done to many jobs at once."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import ValidationError

from jobqueue.api.schemas import json_types
from jobqueue.api.schemas.fields import Flag, Inner, Items, Moment, Object, Response, Strict, Text, Whole
from jobqueue.api.schemas.queries import (
    ChoiceText,
    IdText,
    LimitText,
    MomentText,
    Query,
    StatesText,
    absent,
)
from jobqueue.api.schemas.requests import ContentSchema
from jobqueue.api.schemas.responses import BriefResponse, JobResponse
from jobqueue.domain.bulk.operation import LONGEST_REASON, Action, Stage
from jobqueue.domain.jobs.fingerprint import LENGTH
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, FAILURES, MOST_GROUPS

FINGERPRINT: Final[json_types.Form] = {"type": "string", "pattern": f"^[0-9a-f]{{{LENGTH}}}$"}
_REASON: Final[json_types.Form] = {"minLength": 1, "maxLength": LONGEST_REASON}
_STAGE: Final[json_types.Form] = {"type": "string", "enum": [stage.value for stage in Stage]}


class FailuresText(StatesText):
    """One or more of the states of what did not succeed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        one = "|".join(FAILURES)
        self.load_default = lambda: FAILURES
        self.spec = {"type": "string", "pattern": f"^({one})(,({one}))*$"}

    def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> Any:
        if not set(value.split(",")) <= set(FAILURES):
            raise ValidationError(f"must be one or more of {', '.join(FAILURES)}, with commas between them")
        return super()._deserialize(value, *arguments, **options)


class FailuresQuery(Query):
    """Which failures to group."""

    queue = Text()
    type = Text()
    state = FailuresText()
    inserted_after = MomentText()
    inserted_before = MomentText()
    ended_after = MomentText()
    sort = ChoiceText(BY_COUNT, BY_LAST, load_default=BY_COUNT)
    limit = LimitText(MOST_GROUPS)
    cursor = Text(load_default=absent)


class SampleResponse(Response):
    """The job of a group that was added last."""

    id = Text(spec=json_types.ID)
    queue = Text()
    state = Text(spec=json_types.STATE)
    end_at = Moment(allow_none=True)
    message = Text(allow_none=True)
    trace = Text(allow_none=True)


class FailureResponse(Response):
    """Jobs of one type that ended in the same way."""

    fingerprint = Text(spec=FINGERPRINT)
    type = Text()
    kind = Text(allow_none=True)
    message = Text()
    place = Text(allow_none=True, spec={"description": "file and function of your own code, where a trace tells"})
    count = Whole()
    states = Object(spec=json_types.COUNTS)
    first_at = Moment(allow_none=True)
    last_at = Moment(allow_none=True)
    queues = Items(Text())
    sample = Inner(SampleResponse)


class FailurePage(Response):
    """A page of groups of failures."""

    items = Items(Inner(FailureResponse))
    next = Text(allow_none=True)


class FailureRequeueSchema(ContentSchema):
    """How a group of failures is started again."""

    trial = Flag()
    queue = Text()
    dry_run = Flag()


class ManySchema(Strict):
    """Which jobs are meant."""

    filter = Object()
    all = Flag()
    dry_run = Flag()


class ManyRequeueSchema(ContentSchema, ManySchema):
    """Which jobs are started again, and what is changed about them."""


class ManyKillSchema(ManySchema):
    """Which jobs are ended, and why."""

    reason = Text(spec=_REASON)


class PreviewResponse(Response):
    """How many jobs are meant, and the first few of them."""

    action = Text(spec={"enum": [action.value for action in Action]})
    matched = Whole(allow_none=True)
    is_exact = Flag()
    samples = Items(Inner(BriefResponse))


class TrialResponse(PreviewResponse):
    """The one job that is tried again, or how many jobs are meant and the first few of them."""

    sparse = frozenset({"job", "action", "matched", "is_exact", "samples"})
    job = Inner(JobResponse)


class RefusedResponse(Response):
    """A job that could not be changed."""

    id = Text(spec=json_types.ID)
    reason = Text()


class OperationResponse(Response):
    """What is done to many jobs, and how far that has come."""

    id = Text(spec=json_types.ID)
    action = Text(spec={"enum": [action.value for action in Action]})
    filter = Object()
    fingerprint = Text(allow_none=True)
    changes = Object()
    reason = Text(allow_none=True)
    by = Object()
    insert_at = Moment()
    end_at = Moment(allow_none=True)
    state = Text(spec=_STAGE)
    matched = Whole(allow_none=True)
    is_exact = Flag()
    done = Whole()
    skipped = Whole()
    failed = Whole()
    failures = Items(Inner(RefusedResponse))
    error = Text(allow_none=True)


class OperationPage(Response):
    """A page of operations."""

    items = Items(Inner(OperationResponse))
    next = Text(allow_none=True)


class OperationsQuery(Query):
    """Which operations to list."""

    state = ChoiceText(*Stage, load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = IdText(load_default=absent)
