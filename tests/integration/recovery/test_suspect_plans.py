"""Query plans with thousands of jobs that wait to run alone before all others, and with hundreds of running ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.limits.limits import limit_key
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.store.documents import documents, statements, suspect_statements
from jobqueue.store.documents.claim_search import ClaimSearch
from jobqueue.store.limits import limit_statements
from jobqueue.store.mongo.database import new_id
from jobqueue.store.work.claim_cursor import ClaimCursor
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

SUSPECTS = 3000
RUNNING = 200
HEALTHY = 20
FINISHED = 2000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "t" * 24
KEY = limit_key("meta.user", {}, {"user": "x"})
CLAIM: dict[str, Any] = {"token": TOKEN, "worker": "w"}


@pytest.fixture
async def crowded(idle_runtime: Runtime) -> Runtime:
    """Give a database in which the jobs that wait to run alone come first."""
    config = QueueConfig()
    made: list[dict[str, Any]] = []

    def put(count: int, **changes: Any) -> None:
        for number in range(count):
            new = config.fill(NewJob(type=f"type{number % 3}", meta={"user": "x"}))
            inserted = NOW + timedelta(seconds=len(made))
            made.append(documents.new_document(new, job_id=new_id(), now=inserted, limit_key=KEY) | changes)

    put(SUSPECTS, crashes=2)
    put(HEALTHY)
    put(RUNNING - 1, state="processing", claim=CLAIM, resetAt=NOW)
    put(1, state="processing", claim=CLAIM, resetAt=NOW, crashes=2)
    put(FINISHED, state="success", endAt=NOW, claim=None)
    await idle_runtime.jobs.collection.insert_many(made)
    return idle_runtime


@pytest.mark.parametrize("types", [None, ["type1"], ["type0", "type1"]])
async def test_a_worker_that_runs_a_suspect_searches_from_its_last_healthy_job_on(
    crowded: Runtime, types: list[str] | None
) -> None:
    hint = statements.CLAIM_INDEX if types is None else statements.CLAIM_TYPE_INDEX
    position = ClaimCursor(warm=0)
    position.found({"priority": 0, "insertAt": NOW + timedelta(seconds=SUSPECTS)}, 0)
    for part, order in position.narrowed()[:2]:
        search = statements.claimable("default", types) | suspect_statements.NO_SUSPECT | part
        command = {
            "findAndModify": "jobs",
            "query": search,
            "sort": dict(order),
            "update": statements.claim("t", "w", NOW),
            "hint": hint,
        }
        await explain(crowded.database, command, keys=8)


@pytest.mark.parametrize("types", [None, ("type1",)])
async def test_the_first_search_past_suspects_goes_by_the_order_of_the_index(
    crowded: Runtime, types: tuple[str, ...] | None
) -> None:
    search = ClaimSearch(queue="default", types=types, token=TOKEN, worker="w", suspects=False)
    hint = statements.CLAIM_INDEX if types is None else statements.CLAIM_TYPE_INDEX
    whole = statements.claimable("default", types) | suspect_statements.NO_SUSPECT, hint
    for wanted, index in (whole, limit_statements.of_group(search, KEY)):
        command = {"find": "jobs", "filter": wanted, "sort": dict(statements.CLAIM_ORDER), "limit": 1, "hint": index}
        await explain(crowded.database, command, keys=SUSPECTS + 3)


async def test_claims_past_thousands_of_suspects_begin_where_the_last_one_ended(crowded: Runtime) -> None:
    search = ClaimSearch(queue="default", types=None, token=TOKEN, worker="w", suspects=False)
    found = [await crowded.claims.claim(search) for _ in range(HEALTHY + 1)]
    assert [one is not None and not one.is_suspect for one in found] == [True] * HEALTHY + [False]
    assert [one.insert_at for one in found if one] == [NOW + timedelta(seconds=SUSPECTS + n) for n in range(HEALTHY)]


@pytest.mark.parametrize(
    "search",
    [
        suspect_statements.beside(["w", "v"]),
        suspect_statements.others("w", "t"),
        suspect_statements.running(),
    ],
)
async def test_the_neighbours_of_a_job_are_found_among_the_running_ones(
    crowded: Runtime, search: dict[str, Any]
) -> None:
    await explain(crowded.database, {"find": "jobs", "filter": search, "hint": "lease"}, keys=RUNNING + 1)
