"""Listings on an imitation of MongoDB: the filter, the order and the cursor together give each job once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mongomock_motor import AsyncMongoMockClient

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.search.query import JobQuery
from jobqueue.store.documents import documents
from jobqueue.store.search.search import order, statement
from tests.unit.jobs.domain_strategies import modest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

    from jobqueue.domain.jobs.job import Job

START = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = "b" * 24
BATCH = "c" * 24
VALUES: list[Any] = [42, "42", 42.0, True, None, "x" * 300, "Ann", 1.5]

moments = st.integers(0, 5).map(lambda second: START + timedelta(milliseconds=second * 500))


@st.composite
def stored_jobs(draw: DrawFn) -> list[dict[str, Any]]:
    """Give documents of jobs, many of them inserted in the same millisecond."""
    found = []
    for number in range(draw(st.integers(0, 14))):
        new = NewJob(
            type=draw(st.sampled_from(["a", "b"])),
            queue=draw(st.sampled_from(["default", "media"])),
            meta={
                "user": {"id": draw(st.sampled_from(VALUES))},
                "tags": draw(st.lists(st.sampled_from("xyz"), max_size=2)),
            },
        )
        document = documents.new_document(
            QueueConfig().fill(new),
            job_id=f"{draw(st.integers(0, 999)):021x}{number:03x}",
            now=draw(moments),
            parent_id=draw(st.sampled_from([None, PARENT])),
            batch_id=draw(st.sampled_from([None, BATCH])),
        )
        found.append(document | {"state": draw(st.sampled_from(State)).value})
    return found


queries = st.builds(
    JobQuery,
    queue=st.sampled_from([None, None, "default", "media"]),
    type=st.sampled_from([None, None, "a"]),
    states=st.sampled_from([(), (), (State.PENDING,), (State.FAILED, State.KILLED, State.SUCCESS)]),
    parent_id=st.sampled_from([None, None, PARENT]),
    batch_id=st.sampled_from([None, None, BATCH]),
    meta=st.sampled_from([(), (), (("user.id", "42"),), (("user.id", "null"),), (("tags", "x"), ("tags", "y"))]),
    inserted_after=st.none() | moments,
    inserted_before=st.none() | moments,
    oldest_first=st.booleans(),
    limit=st.integers(1, 5),
)


def is_wanted(job: Job, query: JobQuery) -> bool:
    """Tell in plain words whether a listing has to show a job."""
    exact = [
        (query.queue, job.queue),
        (query.type, job.type),
        (query.parent_id, job.parent_id),
        (query.batch_id, job.batch_id),
    ]
    user, tags = job.meta["user"]["id"], job.meta["tags"]
    held = {"tags": tags, "user.id": [str(user)] if isinstance(user, str | int | float) else ["null"]}
    if user == 42 and not isinstance(user, str):
        held["user.id"] = ["42"]
    return (
        all(wanted in {None, found} for wanted, found in exact)
        and (not query.states or job.state in query.states)
        and all(text in held[path] for path, text in query.meta)
        and (query.inserted_after is None or job.insert_at >= query.inserted_after)
        and (query.inserted_before is None or job.insert_at < query.inserted_before)
    )


async def collection_of(stored: Sequence[dict[str, Any]]) -> Any:
    collection: Any = AsyncMongoMockClient(tz_aware=True)["test"]["jobs"]
    if stored:
        await collection.insert_many(stored)
    return collection


async def read(collection: Any, query: JobQuery, most: int) -> list[Job]:
    found = [
        documents.job(one)
        async for one in collection.find(statement(query.search())).sort(order(query.search())).limit(most)
    ]
    assert len(found) <= most
    return found


@modest
@given(stored_jobs(), queries)
async def test_page_by_page_every_wanted_job_comes_once_and_in_order(
    stored: list[dict[str, Any]], query: JobQuery
) -> None:
    collection = await collection_of(stored)
    shown: list[Job] = []
    page = query
    while found := await read(collection, page, query.limit):
        assert len(shown) < len(stored)
        shown += found
        page = query.at(query.cursor(found[-1]))
    wanted = [job for job in map(documents.job, stored) if is_wanted(job, query)]
    wanted.sort(key=lambda job: (job.insert_at, job.id), reverse=not query.oldest_first)
    assert [job.id for job in shown] == [job.id for job in wanted]


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_jobs_of_the_same_millisecond_are_on_one_page_each(
    oldest_first: bool,  # noqa: FBT001 - a parameter of the test
    limit: int,
) -> None:
    new = QueueConfig().fill(NewJob(type="a"))
    collection = await collection_of(
        [documents.new_document(new, job_id=f"{number:024x}", now=START) for number in (5, 3, 1, 6, 0, 2, 4)]
    )
    query = page = JobQuery(oldest_first=oldest_first, limit=limit)
    shown: list[str] = []
    while len(shown) <= 7 and (found := await read(collection, page, limit)):
        shown += [job.id for job in found]
        page = query.at(query.cursor(found[-1]))
    assert shown == sorted((f"{number:024x}" for number in range(7)), reverse=not oldest_first)


@modest
@given(stored_jobs(), stored_jobs())
async def test_jobs_added_meanwhile_do_not_shift_the_pages(
    before: list[dict[str, Any]], added: list[dict[str, Any]]
) -> None:
    collection = await collection_of(before)
    query = JobQuery(limit=3)
    first = await read(collection, query, 3)
    later = [one | {"_id": type(one["_id"])(), "insertAt": START + timedelta(days=1)} for one in added]
    if later:
        await collection.insert_many(later)
    rest = await read(collection, query.at(query.cursor(first[-1])), 200) if first else []
    assert sorted(job.id for job in [*first, *rest]) == sorted(str(one["_id"]) for one in before)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("42", [42, "42", 42.0]),
        ('"42"', ["42"]),
        ("42.0", [42, 42.0]),
        ("true", [True]),
        ("1", []),
        ("null", [None]),
        ("x" * 300, ["x" * 300]),
        ("x", []),
        ("Ann", ["Ann"]),
        ("ann", []),
        ("1.5", [1.5]),
    ],
)
async def test_a_value_of_meta_is_found_as_a_person_writes_it(text: str, found: list[Any]) -> None:
    stored = [
        documents.new_document(
            QueueConfig().fill(NewJob(type="a", meta={"user": {"id": value}})), job_id=f"{number:024x}", now=START
        )
        for number, value in enumerate(VALUES)
    ]
    shown = await read(await collection_of(stored), JobQuery(meta=(("user.id", text),), oldest_first=True), 200)
    assert [repr(job.meta["user"]["id"]) for job in shown] == [repr(value) for value in found]
