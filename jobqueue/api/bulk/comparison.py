"""The route that compares the failed jobs of a group with others, and its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.schemas import fields, json_types
from jobqueue.api.schemas.fields import Response
from jobqueue.api.schemas.queries import Query
from jobqueue.api.security.caller import caller
from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.bulk.failure_comparison import Verdict
from jobqueue.domain.bulk.traits import TraitTest

if TYPE_CHECKING:
    from aiohttp import web

_TEST: Final[json_types.Form] = {"type": "string", "enum": [test.value for test in TraitTest]}
_VERDICT: Final[json_types.Form] = {"type": "string", "enum": [verdict.value for verdict in Verdict]}
_SCALAR: Final[json_types.Form] = {"type": ["string", "number", "boolean", "null"]}


class ComparisonQuery(Query):
    """A queue to which a comparison is narrowed."""

    queue = fields.Text()


class LookedResponse(Response):
    """A sample, and how it was chosen."""

    count = fields.Whole()
    how = fields.Text()
    first_at = fields.Moment(allow_none=True, spec={"description": "creation of the oldest job"})
    last_at = fields.Moment(allow_none=True, spec={"description": "creation of the newest job"})


class LikenessResponse(Response):
    """A test of one field that jobs pass."""

    field = fields.Text()
    test = fields.Text(spec=_TEST)
    value = fields.Anything(allow_none=True, spec=_SCALAR)
    text = fields.Text(spec={"description": "the test in words"})


class TraitResponse(LikenessResponse):
    """A trait by which failed jobs differ from those that succeeded, with the numbers of jobs that have it."""

    failed = fields.Whole()
    failed_of = fields.Whole(spec={"description": "failed jobs whose value is known"})
    succeeded = fields.Whole()
    succeeded_of = fields.Whole()
    alike = fields.Items(
        fields.Inner(LikenessResponse), spec={"description": "traits of other fields that the same jobs have"}
    )


class TallyResponse(Response):
    """The number of failed jobs with a value."""

    value = fields.Anything(spec={"type": ["string", "integer"]})
    count = fields.Whole()


class BeginningResponse(Response):
    """The end of the oldest failed job, soon after its version was first seen."""

    at = fields.Moment()
    version = fields.Text()
    seen_at = fields.Moment(spec={"description": "first run of the version among the jobs that were looked at"})
    before_at = fields.Moment(spec={"description": "last run of another version before that"})
    seconds = fields.Number()


class FailureComparisonResponse(Response):
    """The comparison of the failed jobs of a group with jobs of the same type that succeeded."""

    fingerprint = fields.Text(spec=json_types.FINGERPRINT)
    type = fields.Text()
    queue = fields.Text(allow_none=True)
    verdict = fields.Text(spec=_VERDICT)
    message = fields.Text()
    failed = fields.Inner(LookedResponse)
    succeeded = fields.Inner(LookedResponse)
    began = fields.Inner(BeginningResponse, allow_none=True)
    traits = fields.Items(
        fields.Inner(TraitResponse), attribute="found.traits", spec={"description": "the greatest difference first"}
    )
    steps = fields.Items(
        fields.Inner(TallyResponse), attribute="found.steps", spec={"description": "in which jobs failed"}
    )
    attempts_made = fields.Items(fields.Inner(TallyResponse), attribute="found.attempts_made")
    fields_ = fields.Whole(attribute="found.fields", data_key="fields")
    comparisons = fields.Whole(attribute="found.comparisons")
    false_alarm = fields.Number(
        attribute="found.false_alarm",
        spec={"description": "probability of any trait where there is no cause, at most"},
    )
    unread = fields.Whole(
        attribute="found.unread", spec={"description": "jobs whose data or meta is too large to be looked at"}
    )
    is_complete = fields.Flag(spec={"description": "false if reading took too long, so that the samples are smaller"})


async def compare(request: web.Request) -> web.Response:
    """Compare the failed jobs of a group with jobs of the same type that succeeded."""
    fingerprint = check_fingerprint(request.match_info["fingerprint"])
    service = request.app[RUNTIME].failures
    found = await service.compare(fingerprint, request[QUERY].get("queue"), scope=caller(request).scope)
    return reply(FailureComparisonResponse.of(found))
