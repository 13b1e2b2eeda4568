"""A date without a time zone says no moment: wherever one goes in, it is refused by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

import pytest
from multidict import MultiDict

from jobqueue.api.insight.schemas import AuditQueryString
from jobqueue.api.jobs.schemas import JobsQuery, PatchSchema
from jobqueue.api.schemas.fields import load
from jobqueue.api.schemas.queries import load as load_query
from jobqueue.api.schemas.requests import NewJobSchema
from jobqueue.cli.render import values
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.external.documents import read
from jobqueue.domain.insight.audit import AuditQuery
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.search.search import search
from jobqueue.domain.search.terms import moment_ago
from jobqueue.domain.values.iso8601 import LOST_PLUS, NO_ZONE
from jobqueue.domain.values.payload import check_result
from jobqueue.domain.work.failure import FailureQuery
from jobqueue.domain.workflow.batch import NewBatch

if TYPE_CHECKING:
    from collections.abc import Callable

NAIVE = datetime(2030, 1, 31, 12)  # noqa: DTZ001 - what is refused
TEXT = "2030-01-31T12:00:00"
LOST = "2030-01-31T12:00:00 02:00"


def problems(call: Callable[[], Any]) -> dict[str, list[str]]:
    with pytest.raises(InvalidInputError) as caught:
        call()
    return caught.value.problems


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda: NewJob(type="a", delay_til=NAIVE), "delayTil"),
        (lambda: NewJob(type="a", data={"when": [NAIVE]}), "data.when.0"),
        (lambda: NewJob(type="a", meta={"when": NAIVE}), "meta.when"),
        (lambda: NewJob(type="a", on_success={"type": "b", "delay_til": NAIVE}), "onSuccess.delayTil"),  # type: ignore[arg-type]  # children may be given as such
        (lambda: NewBatch(meta={"when": NAIVE}), "meta.when"),
        (lambda: JobQuery(inserted_after=NAIVE), "insertedAfter"),
        (lambda: JobQuery(inserted_before=NAIVE), "insertedBefore"),
        (lambda: FailureQuery(ended_after=NAIVE), "endedAfter"),
        (lambda: FailureQuery(inserted_after=NAIVE), "insertedAfter"),
        (lambda: AuditQuery(before=NAIVE), "before"),
        (lambda: search({"insertAt": {"$gte": NAIVE}}), "filter.insertAt.$gte"),
        (lambda: search({"meta.when": NAIVE}), "filter.meta.when"),
    ],
)
def test_a_naive_date_of_python_is_refused(call: Callable[[], Any], path: str) -> None:
    found = problems(call)
    assert list(found) == [path]
    assert "time zone" in found[path][0]


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda text: load(NewJobSchema, {"type": "a", "delayTil": text}), "delayTil"),
        (lambda text: load(PatchSchema, {"delayTil": text}), "delayTil"),
        (lambda text: load_query(JobsQuery, MultiDict(insertedAfter=text)), "insertedAfter"),
        (lambda text: load_query(AuditQueryString, MultiDict(before=text)), "before"),
        (lambda text: search({"insertAt": {"$gte": text}}), "filter.insertAt.$gte"),
        (lambda text: search({"data.when": {"$date": text}}), "filter.data.when.$date"),
        (lambda text: values.moment(text, "delayTil"), "delayTil"),
        (lambda text: moment_ago(text, NAIVE.replace(tzinfo=UTC)), "since"),
        (lambda text: values.new_job({"type": "a", "delayTil": text}, "job"), "job.delayTil"),
    ],
)
def test_a_text_without_a_zone_is_refused_with_what_to_write(call: Callable[[str], Any], path: str) -> None:
    assert problems(lambda: call(TEXT))[path][0].endswith(NO_ZONE)
    assert problems(lambda: call(LOST))[path][0].endswith(LOST_PLUS)
    call("2030-01-31T12:00:00+02:00")
    call("2030-01-31")


def test_a_zone_that_knows_no_offset_is_none() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, _: datetime | None) -> None:
            return None

        def dst(self, _: datetime | None) -> None:
            return None

        def tzname(self, _: datetime | None) -> None:
            return None

    nowhere = NAIVE.replace(tzinfo=Nowhere())
    assert "time zone" in problems(lambda: NewJob(type="a", delay_til=nowhere))["delayTil"][0]
    assert "time zone" in problems(lambda: NewJob(type="a", data={"a": nowhere}))["data.a"][0]


def test_a_document_of_another_tool_is_not_guessed_at() -> None:
    found = read({"type": "a", "delayTil": TEXT}, 0)
    assert (found.new, found.problems) == (None, {"delayTil": [NO_ZONE]})
    assert read({"type": "a", "delayTil": TEXT + "+02:00"}, 0).problems == {}


def test_a_result_is_never_lost_for_a_date_without_a_zone() -> None:
    assert check_result({"at": NAIVE}) == {"at": NAIVE}


def test_every_zone_becomes_utc() -> None:
    there = NAIVE.replace(tzinfo=timezone(timedelta(hours=5)))
    job = NewJob(type="a", delay_til=there, data={"when": there})
    assert job.delay_til == there
    assert job.delay_til is not None
    assert job.delay_til.tzinfo is UTC
