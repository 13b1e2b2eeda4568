"""Jobs of many steps: small results stay in the document, and every limit holds however a step is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.errors import InvalidInputError, StaleTokenError, TooLargeError
from jobqueue.domain.steps.step import INLINE_RESULTS, INLINE_STEPS, MOST_RESULTS, MOST_STEPS, SMALL_RESULT
from tests.support.data.factories import claimed_job, document

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

SMALL = "s" * (SMALL_RESULT // 2)
LARGER = "l" * (2 * SMALL_RESULT)


async def prepared(runtime: Runtime, count: int, size: int = 10, **more: Any) -> ClaimedJob:
    """Return a claimed job that has finished some steps, whose results are said to have a size."""
    claimed = await claimed_job(runtime)
    await runtime.work.steps.record(claimed.job, claimed.token, "step 0", 0)
    number = {"name": {"$concat": ["step ", {"$toString": "$$number"}]}, "size": size, **more}
    copy = {"$mergeObjects": [{"$first": "$steps"}, number]}
    copies = {"$map": {"input": {"$range": [0, count]}, "as": "number", "in": copy}}
    await runtime.jobs.collection.update_one({}, [{"$set": {"steps": copies}}])
    return claimed


async def last(runtime: Runtime, claimed: ClaimedJob) -> dict[str, Any]:
    step: dict[str, Any] = (await document(runtime, claimed.job.id))["steps"][-1]
    return step


async def record(runtime: Runtime, claimed: ClaimedJob, name: str, result: Any) -> tuple[Any, bool]:
    kept = await runtime.work.steps.record(claimed.job, claimed.token, name, result)
    return kept.result, kept.existed


async def test_small_results_stay_in_the_document_and_larger_ones_leave_it(idle_runtime: Runtime) -> None:
    claimed = await prepared(idle_runtime, INLINE_STEPS - 1)
    assert await record(idle_runtime, claimed, "in", LARGER) == (LARGER, False)
    assert (await last(idle_runtime, claimed))["result"] == LARGER
    assert await record(idle_runtime, claimed, "out", LARGER) == (LARGER, False)
    outside = await last(idle_runtime, claimed)
    assert (outside["name"], outside["stored"], "result" in outside) == ("out", True, False)
    assert await record(idle_runtime, claimed, "small", SMALL) == (SMALL, False)
    assert (await last(idle_runtime, claimed))["result"] == SMALL
    again = await idle_runtime.work.steps.finished(claimed.job.id, "out")
    assert again.result == LARGER
    assert (await document(idle_runtime, claimed.job.id))["history"][-1]["steps"][1:] == ["in", "out", "small"]


async def test_the_first_result_of_a_name_wins_and_a_lost_claim_records_nothing(idle_runtime: Runtime) -> None:
    claimed = await prepared(idle_runtime, INLINE_STEPS + 50)
    assert await record(idle_runtime, claimed, "step 7", SMALL) == (0, True)
    assert await record(idle_runtime, claimed, "step 8", LARGER) == (0, True)
    assert await idle_runtime.jobs.collection.database["steps"].count_documents({}) == 0
    with pytest.raises(StaleTokenError):
        await idle_runtime.work.steps.record(claimed.job, "another token", "new", SMALL)
    assert len((await document(idle_runtime, claimed.job.id))["steps"]) == INLINE_STEPS + 50


@pytest.mark.parametrize("result", [SMALL, LARGER], ids=["small", "larger"])
async def test_a_job_has_no_more_than_the_most_steps(idle_runtime: Runtime, result: str) -> None:
    claimed = await prepared(idle_runtime, MOST_STEPS - 1)
    assert await record(idle_runtime, claimed, "the last", result) == (result, False)
    with pytest.raises(InvalidInputError):
        await record(idle_runtime, claimed, "one more", result)
    assert await record(idle_runtime, claimed, "the last", result) == (result, True)
    assert await idle_runtime.jobs.collection.database["steps"].count_documents({}) == (result == LARGER)


async def test_small_results_leave_a_document_that_is_full(idle_runtime: Runtime) -> None:
    claimed = await prepared(idle_runtime, 64, INLINE_RESULTS // 64)
    for name in ("one", "two"):
        assert await record(idle_runtime, claimed, name, SMALL) == (SMALL, False)
        assert (await last(idle_runtime, claimed))["stored"]


@pytest.mark.parametrize("result", [SMALL, LARGER * 100], ids=["small", "larger"])
async def test_all_results_together_are_bounded(idle_runtime: Runtime, result: str) -> None:
    size = MOST_RESULTS // 20
    claimed = await prepared(idle_runtime, 20, size, outside=size)
    with pytest.raises(TooLargeError):
        await record(idle_runtime, claimed, "new", result)
    assert len((await document(idle_runtime, claimed.job.id))["steps"]) == 20
    assert await idle_runtime.jobs.collection.database["steps"].count_documents({}) == 0
