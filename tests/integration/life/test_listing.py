"""Pages of jobs: every job once, in order, whatever they have in common."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.search.query import JobQuery
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import new_id
from jobqueue.store.search.search import MOST_BYTES
from tests.support.data.factories import add

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = list(State)
BATCH, PARENT = new_id(), new_id()
Document = dict[str, Any]


@pytest.fixture
async def stored(idle_runtime: Runtime) -> list[Document]:
    """Give documents, many of which were inserted at the same time, newest first."""
    made = []
    for number in range(160):
        new = NewJob(type=f"t{number % 2}", queue=f"q{number % 3}", meta={"n": number % 4, "s": str(number % 4)})
        links: Any = {"batch_id": BATCH if number % 5 == 0 else None, "parent_id": PARENT if number % 7 == 0 else None}
        moment = NOW + timedelta(seconds=number // 40)
        document = documents.new_document(QueueConfig().fill(new), job_id=new_id(), now=moment, **links)
        made.append(document | {"state": STATES[number % 6].value})
    await idle_runtime.jobs.collection.insert_many(made)
    return sorted(made, key=lambda one: (one["insertAt"], one["_id"]), reverse=True)


async def pages(runtime: Runtime, query: JobQuery) -> list[str]:
    """Return the ids of all pages together."""
    found: list[str] = []
    cursor = None
    while True:
        page = await runtime.listing.page(query.at(cursor))
        assert len(page.items) <= query.limit
        found += [job.id for job in page.items]
        if page.next is None:
            return found
        cursor = page.next


@pytest.mark.parametrize("limit", [1, 7, 40, 160, 200])
@pytest.mark.parametrize("oldest_first", [False, True])
async def test_pages_of_any_size_have_every_job_once_and_in_order(
    idle_runtime: Runtime,
    stored: list[Document],
    limit: int,
    oldest_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    expected = [str(one["_id"]) for one in stored]
    found = await pages(idle_runtime, JobQuery(limit=limit, oldest_first=oldest_first))
    assert found == (expected[::-1] if oldest_first else expected)


async def test_any_filters_together_find_what_has_all_of_it(idle_runtime: Runtime, stored: list[Document]) -> None:
    middle = NOW + timedelta(seconds=2)
    choices: dict[str, list[tuple[dict[str, Any], Any]]] = {
        "queue": [({}, None), ({"queue": "q1"}, lambda one: one["queue"] == "q1")],
        "type": [({}, None), ({"type": "t1"}, lambda one: one["type"] == "t1")],
        "states": [
            ({}, None),
            ({"states": (State.FAILED,)}, lambda one: one["state"] == "failed"),
            (
                {"states": (State.FAILED, State.PENDING, State.SUCCESS)},
                lambda one: one["state"] in {"failed", "pending", "success"},
            ),
        ],
        "links": [
            ({}, None),
            ({"batch_id": BATCH}, lambda one: one["batchId"] is not None),
            ({"parent_id": PARENT}, lambda one: one["parentId"] is not None),
        ],
        "meta": [
            ({}, None),
            ({"meta": (("n", "2"),)}, lambda one: one["meta"]["n"] == 2),
            ({"meta": (("n", "2"), ("s", '"2"'))}, lambda one: one["meta"]["n"] == 2),
            ({"meta": (("n", '"2"'),)}, lambda _: False),
        ],
        "dates": [
            ({}, None),
            ({"inserted_after": middle}, lambda one: one["insertAt"] >= middle),
            ({"inserted_before": middle}, lambda one: one["insertAt"] < middle),
        ],
    }
    for chosen in itertools.product(*choices.values()):
        fields: dict[str, Any] = {}
        for part, _ in chosen:
            fields |= part
        tests = [test for _, test in chosen if test is not None]
        expected = [str(one["_id"]) for one in stored if all(test(one) for test in tests)]
        page = await idle_runtime.listing.page(JobQuery(limit=200, **fields))
        assert [job.id for job in page.items] == expected, fields


async def test_jobs_added_meanwhile_do_not_disturb_the_pages_that_follow(
    idle_runtime: Runtime, stored: list[Document]
) -> None:
    first = await idle_runtime.listing.page(JobQuery(limit=100))
    await add(idle_runtime)
    rest = await idle_runtime.listing.page(JobQuery(limit=100).at(first.next))
    assert [job.id for job in (*first.items, *rest.items)] == [str(one["_id"]) for one in stored]


async def test_a_page_of_large_jobs_ends_early_and_the_next_goes_on(idle_runtime: Runtime) -> None:
    data = {"text": "x" * 1_000_000}
    jobs = [await add(idle_runtime, data=data) for _ in range(12)]
    first = await idle_runtime.listing.page(JobQuery(limit=100))
    assert len(first.items) == MOST_BYTES // 1_000_000
    assert await pages(idle_runtime, JobQuery(limit=100)) == [job.id for job in jobs[::-1]]
