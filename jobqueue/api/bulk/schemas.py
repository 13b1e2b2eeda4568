"""Requests about operations and failures, and their replies."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import missing

from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response, Strict, page
from jobqueue.api.schemas.queries import ChoiceText, IdText, LimitText, Query, StatesText, absent
from jobqueue.api.schemas.requests import RequeueSchema
from jobqueue.api.schemas.responses import BriefResponse, JobResponse
from jobqueue.domain.attempts.states import FAILURES
from jobqueue.domain.bulk.operation import LONGEST_REASON, Action, Stage
from jobqueue.domain.bulk.rules import MOST_A_MINUTE, MOST_AT_ONCE, MOST_FAILED_AGAIN, MOST_TRIED, Why
from jobqueue.domain.search.query import MOST_LISTED
from jobqueue.domain.steps.step import as_json
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, MOST_GROUPS

_REASON: Final[json_types.Form] = {"minLength": 1, "maxLength": LONGEST_REASON}
_TRIAL: Final[json_types.Form] = {"minimum": 1, "maximum": MOST_TRIED}
_STOP_AFTER: Final[json_types.Form] = {"minimum": 1, "maximum": MOST_FAILED_AGAIN}
_PACE: Final[json_types.Form] = {
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": MOST_AT_ONCE},
        {"type": "string", "pattern": "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|60000)/m$"},
        {"type": "null"},
    ],
    "description": f"so many unfinished at once, or so many a minute, up to {MOST_A_MINUTE}/m",
}
_PATCH: Final[json_types.Form] = {
    "type": "object",
    "description": "a JSON merge patch (RFC 7396) of the data of each job",
}
_STAGE: Final[json_types.Form] = {"type": "string", "enum": [stage.value for stage in Stage]}


class FailuresQuery(Query):
    """Filter of failures, and the order of their groups."""

    queue = fields.Text()
    type = fields.Text()
    state = StatesText(FAILURES, lambda: FAILURES, attribute="states")
    inserted_after = fields.Moment()
    inserted_before = fields.Moment()
    ended_after = fields.Moment()
    sort = ChoiceText(BY_COUNT, BY_LAST, load_default=BY_COUNT)
    limit = LimitText(MOST_GROUPS)
    cursor = fields.Text(load_default=absent)


class SampleResponse(Response):
    """The job of a group that was added last."""

    id = fields.Text(spec=json_types.ID)
    queue = fields.Text()
    state = fields.Text(spec=json_types.STATE)
    end_at = fields.Moment(allow_none=True)
    message = fields.Text(attribute="error.message", allow_none=True)
    trace = fields.Text(attribute="trace_head", allow_none=True)


class FailureResponse(Response):
    """Jobs of one type that ended in the same way, of a `FailureGroup`."""

    fingerprint = fields.Text(spec=json_types.FINGERPRINT)
    type = fields.Text(attribute="sample.type")
    kind = fields.Text(attribute="sample.error.kind", allow_none=True)
    message = fields.Text()
    place = fields.Text(
        allow_none=True, spec={"description": "file and function of your own code, where a trace tells"}
    )
    count = fields.Whole()
    states = fields.Object(spec=json_types.COUNTS)
    first_at = fields.Moment(allow_none=True)
    last_at = fields.Moment(allow_none=True)
    queues = fields.Items(fields.Text())
    sample = fields.Inner(SampleResponse)


class FailedJobResponse(Response):
    """A job of a group of failures."""

    id = fields.Text(spec=json_types.ID)
    queue = fields.Text()
    state = fields.Text(spec=json_types.STATE)
    attempts_made = fields.Whole()
    insert_at = fields.Moment()
    end_at = fields.Moment(allow_none=True)
    message = fields.Text(attribute="error.message", allow_none=True)


class FailureGroupResponse(FailureResponse):
    """A group of failures with the trace of its sample, and its newest jobs."""

    trace = fields.Text(attribute="sample.error.trace", allow_none=True)
    versions = fields.Items(
        fields.Text(), spec={"description": "of the programs in which the newest twenty jobs ended, as far as known"}
    )
    jobs = fields.Items(fields.Inner(FailedJobResponse), spec={"description": "the newest twenty"})


FailurePage: Final = page("FailurePage", FailureResponse)


class RulesSchema(Strict):
    """Rules of a careful operation."""

    pace = fields.Anything(allow_none=True, spec=_PACE)
    stop_after = fields.Whole(allow_none=True, spec=_STOP_AFTER)


class CarefulSchema(RulesSchema):
    """Rules of a careful requeue, and a change of the data of each job."""

    trial = fields.Whole(spec=_TRIAL)
    then = fields.Flag()
    data_patch = fields.Object(spec=_PATCH)


class FailureRequeueSchema(CarefulSchema, RequeueSchema):
    """A requeue of a group of failures."""

    trial = fields.Anything(spec={"oneOf": [{"type": "boolean"}, {"type": "integer", **_TRIAL}]})  # type: ignore[assignment]
    queue = fields.Text()
    dry_run = fields.Flag()


class ManySchema(Strict):
    """A filter of jobs."""

    filter = fields.Object()
    all = fields.Flag()
    dry_run = fields.Flag()


class ManyRequeueSchema(CarefulSchema, RequeueSchema, ManySchema):
    """A requeue of jobs, and the fields that it changes."""


class ManyKillSchema(ManySchema):
    """A kill of jobs, and its reason."""

    reason = fields.Text(spec=_REASON)


class DataPreviewResponse(Response):
    """The data of a sample before and after the change."""

    id = fields.Text(spec=json_types.ID)
    before = fields.Object()
    after = fields.Object()
    problem = fields.Text(allow_none=True, spec={"description": "the reason why this job would be refused"})


class PreviewResponse(Response):
    """The number of jobs that a filter finds, and the first few of them."""

    sparse = frozenset({"data_samples"})
    action = fields.Text(spec={"enum": [action.value for action in Action if action is not Action.UNKNOWN]})
    matched = fields.Whole(allow_none=True)
    is_exact = fields.Flag()
    samples = fields.Items(fields.Inner(BriefResponse))
    data_samples = fields.Items(
        fields.Inner(DataPreviewResponse), spec={"description": "with `dataPatch`: the data of up to three samples"}
    )


class TrialResponse(PreviewResponse):
    """The job of a trial, or a preview."""

    sparse = frozenset({"job", "action", "matched", "is_exact", "samples", "data_samples"})
    job = fields.Inner(JobResponse)


class RefusedResponse(Response):
    """A job that could not be changed."""

    id = fields.Text(spec=json_types.ID)
    reason = fields.Text()


class FirstStep(fields.Text):
    """The first step that runs again; missing where the operation names none."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return as_json(value).get("fromStep", missing)


class EraseSchema(Strict):
    """The values in ``meta`` of the jobs to erase."""

    meta = fields.Object(required=True, spec={**json_types.META, "minProperties": 1})
    dry_run = fields.Flag()


class LeftJobsResponse(Response):
    """Unfinished jobs that an erasure leaves; the first ids."""

    count = fields.Whole()
    ids = fields.Items(fields.Text(spec=json_types.ID))


class LeftResponse(Response):
    """The names of what an erasure leaves as it is."""

    sparse = frozenset({"parents"})
    jobs = fields.Inner(LeftJobsResponse)
    batches = fields.Items(fields.Text(spec=json_types.ID), spec={"description": "that are open"})
    schedules = fields.Items(fields.Text(), spec={"description": "whose jobs have the values"})
    tokens = fields.Items(fields.Text(), spec={"description": "that are limited to the values"})
    parents = fields.Items(
        fields.Text(spec=json_types.ID), spec={"description": "unfinished jobs with results of erased children"}
    )


class ErasurePreviewResponse(Response):
    """The number of jobs that would be erased, the first few of them, and what would be left."""

    action = fields.Text(spec={"const": Action.ERASE.value})
    matched = fields.Whole(allow_none=True)
    is_exact = fields.Flag()
    samples = fields.Items(fields.Inner(BriefResponse))
    left = fields.Inner(LeftResponse)


class ReceiptResponse(Response):
    """Receipt of an erasure: numbers of jobs, of their parts and of documents elsewhere, and what is left."""

    jobs = fields.Whole()
    logs = fields.Whole()
    attempts = fields.Whole()
    steps = fields.Whole()
    signals = fields.Whole()
    audit = fields.Whole()
    batches = fields.Whole()
    operations = fields.Whole()
    idempotency = fields.Whole()
    set_aside = fields.Whole(attribute="setAside")
    left = fields.Inner(LeftResponse)


class PaceField(fields.Anything):
    """A pace: a number, or a text such as ``20/m``."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> Any:
        return None if value is None else value.wire


class OutcomeCountsResponse(Response):
    """Results of the jobs that a careful operation has requeued."""

    unfinished = fields.Whole(spec={"description": "not ended yet; of a stopped operation: when it stopped"})
    succeeded = fields.Whole()
    failed = fields.Whole(spec={"description": "failed or killed again"})
    end_unknown = fields.Whole(
        attribute="unknown",
        data_key="unknown",
        spec={"description": "deleted, or requeued by somebody else, before the end was seen"},
    )


class StopReasonResponse(Response):
    """The reason why an operation has stopped."""

    why = fields.Text(spec={"enum": [why.value for why in Why]})
    message = fields.Text()


class OperationResponse(Response):
    """An operation and its progress."""

    sparse = frozenset({"from_step", "receipt"})
    id = fields.Text(spec=json_types.ID)
    action = fields.Text(attribute="new.action", spec={"enum": [action.value for action in Action]})
    filter = fields.Object(attribute="shown_filter")
    fingerprint = fields.Text(attribute="new.fingerprint", allow_none=True)
    changes = fields.Object(attribute="new.changes")
    from_step = FirstStep(
        attribute="new.from_step",
        allow_none=True,
        spec={"description": "the first step that runs again; null for all"},
    )
    reason = fields.Text(attribute="new.reason", allow_none=True)
    by = fields.Object()
    insert_at = fields.Moment()
    end_at = fields.Moment(allow_none=True)
    state = fields.Text(attribute="stage", spec=_STAGE)
    matched = fields.Whole(allow_none=True)
    is_exact = fields.Flag()
    is_counting = fields.Flag(spec={"description": "changed jobs are still to be counted, also after a stop"})
    done = fields.Whole()
    skipped = fields.Whole()
    failed = fields.Whole()
    failures = fields.Items(fields.Inner(RefusedResponse))
    error = fields.Text(allow_none=True)
    receipt = fields.Inner(ReceiptResponse)
    data_patch = fields.Object(attribute="new.data_patch", allow_none=True)
    trial = fields.Whole(attribute="new.rules.trial", allow_none=True)
    then = fields.Flag(attribute="new.rules.then")
    pace = PaceField(attribute="new.rules.pace", allow_none=True, spec=_PACE)
    stop_after = fields.Whole(attribute="new.rules.stop_after", allow_none=True)
    is_trial = fields.Flag(spec={"description": "only jobs of the trial were changed so far"})
    results = fields.Inner(
        OutcomeCountsResponse, allow_none=True, spec={"description": "null without trial, pace and stopAfter"}
    )
    failed_again = fields.Items(
        fields.Inner(RefusedResponse), spec={"description": "the first jobs that failed again, with their errors"}
    )
    stopped = fields.Inner(StopReasonResponse, allow_none=True)


OperationPage: Final = page("OperationPage", OperationResponse)


class OperationsQuery(Query):
    """Filter of operations."""

    state = ChoiceText(*Stage, load_default=absent)
    limit = LimitText(MOST_LISTED)
    cursor = IdText(load_default=absent)
